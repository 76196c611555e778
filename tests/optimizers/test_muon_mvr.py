"""Variance-reduced Muon against its reference, in each of its forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muon_mvr import muon_mvr as reference
from tests.references.muon_mvr import storm

POLAR = om.linalg.SVDPolar()
NEWTON = om.linalg.NewtonSchulz(om.linalg.YOU_2025)
SAME_BATCH = {"previous": "same_batch"}


def matched(options, expected, orthogonalizer=POLAR, **more):
    with jax.enable_x64(True):
        tx = om.muon_mvr(orthogonalizer=orthogonalizer, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(expected, orth=harness.numpy_map(orthogonalizer)), **more)


def test_mvr1_matches_its_reference():
    options = {"learning_rate": 0.1, "momentum": 0.9, "gamma": 0.1, "weight_decay": 0.05}
    matched(options, functools.partial(reference, **options), orthogonalizer=NEWTON)


def test_mvr2_matches_its_reference():
    options = {"learning_rate": 0.1, "momentum": 0.9, "gamma": 0.1, "weight_decay": 0.05}
    extra = ("grads_at_previous_params",)
    matched({**options, **SAME_BATCH}, functools.partial(reference, **options), extra=extra)


def test_storm_form_is_storm():
    options = {"learning_rate": 0.1, "momentum": 0.9}
    extra = ("grads_at_previous_params",)
    matched({**options, **SAME_BATCH, "gamma": 1.0, "clip": None}, functools.partial(storm, **options), extra=extra)


def test_one_buffer_form_is_mvr1_without_clipping():
    options = {"learning_rate": 0.1, "momentum": 0.9, "gamma": 0.3}
    matched({**options, "clip": None}, functools.partial(reference, clip=False, **options))


def walk(tx, steps=6):
    with jax.enable_x64(True):
        weights, gradients = harness.problem(np.float64)
        return harness.run(tx, weights, gradients[:steps])


def test_gamma_one_minus_beta_is_nesterov_muon():
    common = {"orthogonalizer": POLAR, "momentum": 0.9, "leaves": harness.LEAVES}
    ours = walk(om.muon_mvr(0.1, gamma=1 - 0.9, clip=None, **common))
    muon = walk(om.muon(0.1, shape_scale=om.shapes.RMSMatch(0.2), **common))
    for name, value in muon.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-12, rtol=0)


def test_gamma_zero_is_muon_without_look_ahead():
    common = {"orthogonalizer": POLAR, "momentum": 0.9, "leaves": harness.LEAVES}
    ours = walk(om.muon_mvr(0.1, gamma=0.0, clip=None, **common))
    muon = walk(om.muon(0.1, nesterov=False, shape_scale=om.shapes.RMSMatch(0.2), **common))
    for name, value in muon.items():
        np.testing.assert_allclose(ours[name], value, atol=1e-12, rtol=0)


def test_second_gradient_is_asked_for():
    tx = om.muon_mvr(0.1, **SAME_BATCH)
    params = {"up": {"kernel": jnp.eye(3)}}
    with pytest.raises(ValueError, match="grads_at_previous_params.*step_with_two_gradients"):
        tx.update(params, tx.init(params), params)


@pytest.mark.parametrize("options", [{"momentum": 1.0}, {"previous": "last"}, {"clip": 0.0}])
def test_bad_options_are_named(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        om.muon_mvr(0.1, **options)
