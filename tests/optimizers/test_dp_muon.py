"""DP-Muon beside its reference; the private mean that stands before it is tests/transforms/test_private_mean.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.dp_muon import dp_muon, taylor

RATE = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}


def test_reference_in_x64():
    with jax.enable_x64(True):
        tx = om.dp_muon(leaves=harness.LEAVES, **RATE)
        harness.assert_matches(tx, functools.partial(dp_muon, **RATE))


def test_the_table_is_the_series():
    """Cubic and quintic as the paper has them; a matrix shorter than 1 is lifted by the slope and no more."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        for kappa in (1, 2, 4):
            y = rng.normal(size=(5, 7)) / 20
            got = om.linalg.NewtonSchulz(om.linalg.taylor_coefficients(kappa, 3)).apply(jnp.asarray(y))
            np.testing.assert_allclose(got, taylor(y, kappa, 3), atol=1e-13)
    assert om.linalg.taylor_coefficients(1, 1).rows == ((1.5, -0.5),)
    tiny = om.linalg.NewtonSchulz(om.linalg.taylor_coefficients(2, 5)).apply(jnp.full((2, 3), 1e-12))
    np.testing.assert_allclose(tiny, 1.875**5 * 1e-12, rtol=1e-5)


def test_the_correction_follows_the_heavy_ball_and_takes_off_most_of_the_bias():
    """Mean over 4000 draws of the noise, on a matrix of length 1; without noise it changes no bit."""
    op = om.linalg.NewtonSchulz(om.linalg.taylor_coefficients(2, 3))
    x = np.random.default_rng(2).normal(size=(1, 4, 6))
    x = jnp.asarray(x / np.linalg.norm(x), jnp.float32)

    @jax.jit
    def measured(key, deviation):
        fix = om.linalg.HeatCorrected(op, deviation, 0.9, probes=4)
        noisy = x + deviation * jax.random.normal(key, (4000, 4, 6))
        fixed, carry, _ = fix.apply(noisy, fix.init(noisy.shape, noisy.dtype), key=jax.random.split(key, 4000))
        for _ in range(2):
            carry = fix.apply(noisy, carry, key=jax.random.split(key, 4000))[1]
        return op.apply(noisy), fixed, op.apply(x)[0], carry[0]

    plain, fixed, clean, variance = measured(jax.random.key(3), 0.05)
    before, after = (np.linalg.norm(y.mean(0) - clean) for y in (plain, fixed))
    assert before > 0.05
    assert after < before / 3, (before, after)
    assert variance == pytest.approx(0.05**2 * (1 - 0.81**3) / (1 - 0.81), rel=1e-5)
    plain, fixed, _, variance = measured(jax.random.key(3), 0.0)
    assert (plain == fixed).all()
    assert variance == 0
