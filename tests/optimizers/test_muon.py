"""Muon against its reference, against its peer, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muon import muon as reference

JORDAN = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("orthogonalizer", [JORDAN, om.linalg.SVDPolar()], ids=["newton-schulz", "svd"])
def test_reference_in_x64(nesterov, orthogonalizer):
    options = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.05}
    with jax.enable_x64(True):
        tx = om.muon(orthogonalizer=orthogonalizer, leaves=harness.LEAVES, **options)
        orth = harness.numpy_map(orthogonalizer)
        harness.assert_matches(tx, functools.partial(reference, orth=orth, **options))


def test_reference_in_float32():
    tx = om.muon(0.02, orthogonalizer=JORDAN, leaves=harness.LEAVES)
    with jax.enable_x64(True):
        orth = harness.numpy_map(JORDAN)
        expected = functools.partial(reference, orth=orth, learning_rate=0.02)
        harness.assert_matches(tx, expected, dtype=np.float32, tolerance=1e-5)


def test_default_is_polar_express():
    with jax.enable_x64(True):
        orth = harness.numpy_map(om.linalg.NewtonSchulz(om.linalg.POLAR_EXPRESS_NANOGPT_2025))
        expected = functools.partial(reference, orth=orth, learning_rate=0.02)
        harness.assert_matches(om.muon(0.02, leaves=harness.LEAVES), expected)


def _peer(nesterov):
    plain = {name: case for name, case in harness.CASES.items() if case.leaf.split is None}
    numbers = om.dimension_numbers({name: case.leaf for name, case in plain.items()})
    # The peer adds 1e-8 to the norm and we nothing: with gradients of size 1 that is below the tolerance.
    tx = optax.contrib.muon(0.02, nesterov=nesterov, muon_weight_dimension_numbers=lambda params: numbers)
    weights, gradients = harness.problem(np.float32, cases=plain)
    return harness.run(tx, weights, gradients), weights, gradients, {n: c.leaf for n, c in plain.items()}


def _assert_same(ours, theirs, start):
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, atol=2e-5, rtol=0, err_msg=name)
        assert np.abs(value - start[name]).max() > 1e-2


def test_equals_optax_contrib_without_nesterov():
    theirs, weights, gradients, leaves = _peer(nesterov=False)
    ours = harness.run(om.muon(0.02, orthogonalizer=JORDAN, nesterov=False, leaves=leaves), weights, gradients)
    _assert_same(ours, theirs, weights)


def test_debiased_nesterov_equals_optax_contrib():
    theirs, weights, gradients, leaves = _peer(nesterov=True)
    tx = optax.chain(
        om.transforms.nesterov_ema(0.95, debias=True),
        om.transforms.apply_to_matrices(JORDAN, leaves=leaves),
        om.transforms.scale_by_shape(om.shapes.Jordan(), leaves=leaves),
        optax.scale_by_learning_rate(0.02),
    )
    _assert_same(harness.run(tx, weights, gradients), theirs, weights)


def test_bias_correction_makes_a_difference():
    theirs, weights, gradients, leaves = _peer(nesterov=True)
    ours = harness.run(om.muon(0.02, orthogonalizer=JORDAN, leaves=leaves), weights, gradients)
    assert max(np.abs(ours[name] - theirs[name]).max() for name in theirs) > 1e-3


@pytest.mark.parametrize("path", ["embed/embedding", "lm_head/kernel", "router/kernel", "norm/scale"])
def test_other_roles_are_refused_by_path(path):
    module, name = path.split("/")
    with pytest.raises(ValueError, match=path) as error:
        om.muon(0.02).init({module: {name: jnp.ones((4, 4))}})
    assert "for_matrices" in str(error.value)


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"momentum": -0.1}, {"momentum": 1.0, "nesterov": False}])
def test_momentum_outside_its_interval_is_refused(options):
    with pytest.raises(ValueError, match="momentum"):
        om.muon(0.02, **options)


def test_empty_tree():
    tx = om.muon(0.02)
    state = tx.init({})
    assert tx.update({}, state, {})[0] == {}
