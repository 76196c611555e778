"""Dion against its reference, and what full rank and patience give."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.linalg import PowerStep
from optax_muon.transforms import low_rank_momentum
from tests.references import harness
from tests.references.dion import dion as reference


def start(rows, columns):
    return np.asarray(PowerStep(columns).init((rows, 1000), jnp.float64))


@pytest.mark.parametrize("rank", [3, 100])
def test_reference_in_x64(rank):
    options = {"learning_rate": 0.1, "rank": rank, "momentum": 0.9}
    few = {name: harness.CASES[name] for name in ("tall", "wide", "stacked")}
    with jax.enable_x64(True):
        expected = functools.partial(reference, start=start, **options)
        cases = harness.CASES if rank == 3 else few
        harness.assert_matches(om.dion(leaves=harness.LEAVES, **options), expected, cases=cases, tolerance=1e-9)


def test_power_steps_and_a_share_of_the_shorter_side():
    """A quarter of 8, rounded up to a multiple of 3, is 3."""
    options = {"learning_rate": 0.1, "momentum": 0.9, "power_steps": 2}
    few = {name: harness.CASES[name] for name in ("tall", "wide", "stacked")}
    with jax.enable_x64(True):
        tx = om.dion(leaves=harness.LEAVES, rank=om.linalg.RankFraction(0.25, multiple_of=3), **options)
        expected = functools.partial(reference, start=start, rank=3, **options)
        harness.assert_matches(tx, expected, cases=few, tolerance=1e-9)


@pytest.mark.parametrize(
    ("share", "multiple", "shape", "rank"),
    [
        (0.25, 1, (8, 100), 2),
        (0.25, 1, (9, 5), 2),
        (0.3, 8, (64, 64), 24),
        (1.0, 16, (24, 40), 24),
        (0.01, 1, (6, 6), 1),
    ],
)
def test_ranks_by_share(share, multiple, shape, rank):
    assert om.linalg.RankFraction(share, multiple).of(*shape) == rank


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_full_rank_keeps_mu_times_the_momentum(shape):
    g = {"w": jax.random.normal(jax.random.key(0), shape)}
    tx = low_rank_momentum(0.9, 6)
    _, state = jax.jit(tx.update)(g, tx.init(g))
    np.testing.assert_allclose(state.residual["w"], 0.9 * g["w"], atol=1e-5)
    assert state.subspace.carries["w"][0].shape == (1, shape[0], 6)


def test_a_frozen_momentum_leads_to_its_polar_factor():
    rng = np.random.default_rng(0)
    u, v = np.linalg.qr(rng.normal(size=(7, 3)))[0], np.linalg.qr(rng.normal(size=(5, 3)))[0]
    x = jnp.asarray(u * np.array([9.0, 3.0, 1.0]) @ v.T, jnp.float32)
    op = PowerStep(3)
    carry, step = op.init(x.shape, x.dtype), jax.jit(op.apply)
    for _ in range(20):
        y, carry, info = step(x, carry)
    np.testing.assert_allclose(y, u @ v.T, atol=1e-5)
    r, p = info.factors
    np.testing.assert_allclose(r @ p.T, x, atol=1e-5)


def test_the_update_has_norm_of_its_rank():
    x = jax.random.normal(jax.random.key(0), (2, 7, 9))
    op = PowerStep(4)
    y, carry, info = op.apply(x, op.init(x.shape, x.dtype))
    _, p = info.factors
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=(1, 2)), 2.0, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(carry, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(p.mT @ p, np.broadcast_to(np.eye(4), (2, 4, 4)), atol=1e-5)


def test_recovers_from_zero_and_contains_nan():
    op, zero = PowerStep(3), jnp.zeros((2, 5, 6))
    y, carry, _ = op.apply(zero, op.init(zero.shape, zero.dtype))
    assert (y == 0).all()
    x = jax.random.normal(jax.random.key(0), (2, 5, 6))
    y, _, _ = op.apply(x.at[0, 0, 0].set(jnp.nan), carry)
    assert jnp.isnan(y[0]).any()
    np.testing.assert_allclose(jnp.linalg.norm(y[1]), 3**0.5, rtol=1e-5)
    assert op.apply(jnp.zeros((0, 4)), op.init((0, 4), jnp.float32))[0].shape == (0, 4)


def test_refusals():
    with pytest.raises(ValueError, match="rank"):
        om.dion(0.01, rank=0)
    with pytest.raises(ValueError, match="steps"):
        om.dion(0.01, power_steps=0)
    for options in ((0.0,), (1.5,), (0.5, 0)):
        with pytest.raises(ValueError, match="RankFraction"):
            om.linalg.RankFraction(*options)
    with pytest.raises(ValueError, match="dion: momentum"):
        om.dion(0.01, momentum=1.5)
