"""Muown against its reference, and the coordinates that it trains in."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muown import muown as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}  # other kinds are the contracts'


def test_reference_in_x64():
    options = {"learning_rate": 0.05, "momentum": 0.9, "eps": 1e-3, "weight_decay": 0.05}
    with jax.enable_x64(True):
        tx = om.muown(orthogonalizer=SVD, second_moment_decay=0.8, leaves=harness.LEAVES, **options)
        expected = functools.partial(reference, orth=polar, betas=(0.9, 0.8), **options)
        harness.assert_matches(tx, expected, cases=FEW)


@jax.disable_jit()
def test_no_rate_no_step():
    w, g = jax.random.normal(jax.random.key(0), (2, 6, 4))
    tx = om.muown(0.0, orthogonalizer=SVD)
    np.testing.assert_allclose(tx.update({"w": g}, tx.init({"w": w}), {"w": w})[0]["w"], 0, atol=1e-6)


@jax.disable_jit()
def test_a_cautious_decay_sees_the_step():
    """It decays the entries that the step shrinks, by the whole of it."""
    w, g = jax.random.normal(jax.random.key(0), (2, 6, 4))
    steps = []
    for decay in (0.0, om.transforms.cautious_decay(3.0)):
        tx = om.muown(0.1, orthogonalizer=SVD, weight_decay=decay)
        steps.append(tx.update({"w": g}, tx.init({"w": w}), {"w": w})[0]["w"])
    shrinks = steps[0] * w <= 0
    assert 0.1 < shrinks.mean() < 0.9
    np.testing.assert_allclose(steps[1] - steps[0], jnp.where(shrinks, -0.1 * 3.0 * w, 0), atol=1e-5)


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="muown: momentum"):
        om.muown(0.02, momentum=1.0)
