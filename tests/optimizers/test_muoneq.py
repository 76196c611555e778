"""MuonEq against its reference, and what each side does not see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muoneq import muoneq as reference
from tests.references.polar import polar

MODES = {"output": "R", "reduction": "C", "both": "RC"}
SVD = om.linalg.SVDPolar()


@pytest.mark.parametrize("side", MODES)
def test_reference_in_x64(side):
    options = {"learning_rate": 0.1, "momentum": 0.9, "eps": 1e-3}
    few = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}
    with jax.enable_x64(True):
        tx = om.muoneq(side=side, orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        expected = functools.partial(reference, orth=polar, mode=MODES[side], **options)
        harness.assert_matches(tx, expected, cases=harness.CASES if side == "output" else few)


def first_update(x, side="output", **options):
    params = {"w": x}
    tx = om.muoneq(1.0, side=side, orthogonalizer=SVD, eps=0.0, weight_decay=0.0, **options)
    return jax.jit(tx.update)(params, tx.init(params), params)[0]["w"]


def test_each_side_is_blind_to_its_own_scales_alone():
    x, scale = jax.random.normal(jax.random.key(0), (5, 5)), jnp.array([[1.0, 10.0, 0.1, 3.0, 7.0]])
    outputs, inputs = x * scale, x * scale.T
    blind = {("output", 0), ("reduction", 1)}
    for side in MODES:
        plain = first_update(x, side)
        for i, scaled in enumerate((outputs, inputs)):
            difference = jnp.abs(first_update(scaled, side) - plain).max()
            assert (difference < 1e-4) == ((side, i) in blind), (side, i, difference)


def test_equals_muon_where_all_outputs_are_equally_long():
    x = jax.random.normal(jax.random.key(0), (5, 5))
    unit = x / jnp.linalg.norm(x, axis=0, keepdims=True)
    np.testing.assert_allclose(first_update(unit), -0.2 * np.sqrt(5) * SVD.apply(unit), atol=1e-5)
    assert jnp.abs(first_update(x) + 0.2 * np.sqrt(5) * SVD.apply(x)).max() > 1e-2


def test_refusals():
    with pytest.raises(ValueError, match="side"):
        om.muoneq(0.02, side="rows")
    with pytest.raises(ValueError, match="muoneq: momentum"):
        om.muoneq(0.02, momentum=1.0)
