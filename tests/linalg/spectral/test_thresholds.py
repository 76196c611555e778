"""Thresholds against plain Python, and what clips or hammers with a memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optax_muon import linalg

pytestmark = pytest.mark.thinned(2)

KEY = jax.random.key(0)


def matrix(s, shape=(8, 12), seed=0):
    """A float32 matrix with the singular values ``s``."""
    u, _, vh = np.linalg.svd(np.random.default_rng(seed).normal(size=shape), full_matrices=False)
    return jnp.asarray((u * s) @ vh, jnp.float32)


def sizes(x):
    return np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)


def thresholds(rule, norms):
    """What ``rule`` gives for a sequence of norms, a stack of one."""

    def step(memory, norm):
        threshold, memory = rule.step(norm[None], memory)
        return memory, threshold[0]

    return jax.lax.scan(step, rule.init((1,), jnp.float32), jnp.asarray(norms, jnp.float32))[1]


NORMS = st.lists(st.floats(0.125, 8, width=32), min_size=12, max_size=12)
few = settings(derandomize=True, deadline=None, max_examples=10)


@few
@given(NORMS)
def test_moving_average_of_the_past(norms):
    average, expected = 0.0, []
    for t, norm in enumerate(norms):
        expected.append(average / (1 - 0.9**t) if t else norm)
        average = 0.9 * average + 0.1 * norm
    np.testing.assert_allclose(thresholds(linalg.MovingAverageThreshold(0.9), norms), expected, rtol=1e-5)


@few
@given(NORMS, st.sampled_from([0.0, 0.5, 0.7, 0.85, 1.0]))
def test_quantile_of_a_sliding_window(norms, quantile):
    window, expected = [], []
    for norm in norms:
        expected.append(sorted(window)[int(quantile * (len(window) - 1))] if window else norm)
        window = [*window, norm][-5:]
    got = thresholds(linalg.QuantileThreshold(quantile, window=5), norms)
    np.testing.assert_array_equal(got, np.float32(expected))


def test_constant():
    np.testing.assert_array_equal(thresholds(linalg.ConstantThreshold(2.5), [1, 9]), [2.5, 2.5])


@pytest.mark.parametrize("rule", [linalg.MovingAverageThreshold(0.5), linalg.QuantileThreshold(0.5, 3)])
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_taken_up(rule, broken):
    with_it = thresholds(rule, [1.0, 2.0, broken, 3.0, 4.0])
    without = thresholds(rule, [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(jnp.delete(with_it, 2), without)


def test_clip_follows_each_matrix_past():
    op = linalg.ThresholdClip(linalg.MovingAverageThreshold(0.9))
    calm = matrix(np.geomspace(1, 0.1, 8), (4, 8, 12))
    carry = op.init(calm.shape, calm.dtype)
    y, carry, _ = op.apply(calm, carry)
    np.testing.assert_array_equal(y, calm)  # the first step clips nothing
    burst = calm.at[1].multiply(50)
    y, carry, _ = op.apply(burst, carry)
    np.testing.assert_array_equal(y[0], calm[0])
    np.testing.assert_allclose(sizes(y[1]), np.minimum(50 * np.geomspace(1, 0.1, 8), 1), atol=1e-5)
    y, _, _ = op.apply(burst, carry)  # the unclipped 50 was taken up: (0.9 * 1 + 50) / 1.9
    assert sizes(y[1])[0] == pytest.approx((0.9 + 50) / 1.9, rel=1e-5)


@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_sketched_clip_equals_the_full_one_while_few_exceed(shape):
    x = matrix(np.r_[50.0, 20.0, 0.9, np.full(5, 0.3)], (4, *shape))
    rule = linalg.ConstantThreshold(1.0)
    full, _, _ = linalg.ThresholdClip(rule).apply(x, ())
    op = linalg.SketchedThresholdClip(rule, linalg.RandomizedSVD(rank=2, oversample=1, power_steps=2))
    part, _, _ = op.apply(x, (), key=jax.random.split(KEY, 4))
    np.testing.assert_allclose(part, full, atol=1e-4)
    small, _, _ = op.apply(x * 0.01, (), key=jax.random.split(KEY, 4))
    np.testing.assert_array_equal(small, x * 0.01)


@pytest.mark.parametrize("sketched", [False, True])
def test_clip_of_hostile_input(sketched):
    rule = linalg.QuantileThreshold(0.5, 4)
    op = linalg.SketchedThresholdClip(rule, linalg.RandomizedSVD(2, 1)) if sketched else linalg.ThresholdClip(rule)
    x = matrix(np.geomspace(1, 0.1, 8), (4, 8, 12)).astype(jnp.bfloat16)
    keys = jax.random.split(KEY, 4)
    _, carry, _ = op.apply(x, op.init(x.shape, x.dtype), key=keys)
    assert carry["norms"].dtype == jnp.float32
    bad = x.at[0, 0, 0].set(jnp.nan).at[1].set(0).at[2].multiply(1e30)
    y, carry, _ = op.apply(bad, carry, key=keys)
    assert y.dtype == jnp.bfloat16
    assert jnp.isnan(y[0]).all()
    assert not y[1].any()
    np.testing.assert_array_equal(y[3], x[3])
    np.testing.assert_array_equal(carry["seen"], [1, 2, 2, 2])
    assert np.isfinite(carry["norms"]).all()
    if not sketched:  # a difference cannot take 1e30 down to 1 in float32, and says so in its docstring
        assert sizes(y[2].astype(jnp.float32))[0] == pytest.approx(1, rel=0.02)
    np.testing.assert_allclose(op.apply(x, carry, key=keys)[0][0].astype(jnp.float32), x[0], atol=0.01)
    empty = jnp.zeros((2, 0, 3))
    assert op.apply(empty, op.init(empty.shape, empty.dtype), key=keys[:2])[0].shape == (2, 0, 3)


def test_rank_one_clips_as_the_frobenius_norm_does():
    x = matrix([3.0, 0, 0, 0, 0, 0, 0, 0])
    y, _, _ = linalg.ThresholdClip(linalg.ConstantThreshold(0.5)).apply(x, ())
    np.testing.assert_allclose(y, x * 0.5 / jnp.linalg.norm(x), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 8, 12), (4, 12, 8)])
def test_power_hammer_converges_and_keeps_its_direction(shape):
    s = np.array([3.0, 2.0, 1.5, 1.0, 0.5, 0.4, 0.3, 0.1])
    x = matrix(s, shape)
    op = linalg.PowerHammer(1.2, 30)
    y, carry, _ = op.apply(x, op.init(x.shape, x.dtype))
    np.testing.assert_allclose(y, linalg.Hammer(1.2).apply(x), atol=2e-5)
    # One iteration goes on from there; from nothing it would not do.
    brief = linalg.PowerHammer(1.2, 1)
    np.testing.assert_allclose(brief.apply(x, carry)[0], y, atol=2e-5)
    assert float(jnp.abs(brief.apply(x, brief.init(x.shape, x.dtype))[0] - y).max()) > 1e-2
    assert carry.shape == (4, 8)


def test_power_hammer_of_hostile_input():
    s = np.array([3.0, 2.0, 1.5, 1.0, 0.5, 0.4, 0.3, 0.1])
    x = matrix(s, (4, 8, 12))
    op = linalg.PowerHammer(1.2, 40)
    bad = x.at[0, 0, 0].set(jnp.nan).at[1].set(0)
    y, carry, _ = op.apply(bad, op.init(x.shape, x.dtype))
    assert jnp.isnan(y[0]).any()
    assert not y[1].any()
    np.testing.assert_allclose(y[2:], linalg.Hammer(1.2).apply(x[2:]), atol=2e-5)
    again, _, _ = op.apply(x, carry)  # a lost direction is found anew
    np.testing.assert_allclose(again, linalg.Hammer(1.2).apply(x), atol=2e-5)
    for scale in (1e-30, 1e30):
        hammered, _, _ = linalg.PowerHammer(2 * scale, 40).apply(x * np.float32(scale), op.init(x.shape, x.dtype))
        np.testing.assert_allclose(hammered / np.float32(scale), linalg.Hammer(2.0).apply(x), atol=2e-5)
    low = x.astype(jnp.bfloat16)
    assert op.apply(low, op.init(low.shape, low.dtype))[0].dtype == jnp.bfloat16
    assert op.init((3, 0, 4), jnp.float32).shape == (3, 0)
    assert op.apply(jnp.zeros((3, 0, 4)), jnp.zeros((3, 0)))[0].shape == (3, 0, 4)


BAD = [
    (lambda: linalg.ConstantThreshold(0.0), "value"),
    (lambda: linalg.MovingAverageThreshold(1.0), "decay"),
    (lambda: linalg.MovingAverageThreshold(-0.1), "decay"),
    (lambda: linalg.QuantileThreshold(1.1), "quantile"),
    (lambda: linalg.QuantileThreshold(float("nan")), "quantile"),
    (lambda: linalg.QuantileThreshold(0.5, 0), "window"),
    (lambda: linalg.SketchedThresholdClip(linalg.ConstantThreshold(1.0)).apply(matrix(np.ones(8)), ()), "key"),
]


@pytest.mark.parametrize(("make", "named"), BAD)
def test_bad_options_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
