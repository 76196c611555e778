"""EMA-Nesterov against its rule in NumPy, and its limits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.transforms import ema_nesterov

CURVATURE = np.random.default_rng(0).uniform(0.05, 1, (4, 3))
START = np.random.default_rng(1).normal(size=(4, 3))


def walk(tx, steps=12):
    """Iterates on a quadratic, whose gradient is taken where the parameters are."""
    params = {"w": jnp.asarray(START)}
    state, update, out = tx.init(params), jax.jit(tx.update), []
    for _ in range(steps):
        updates, state = update({"w": CURVATURE * params["w"]}, state, params)
        params = optax.apply_updates(params, updates)
        out.append(np.asarray(om.eval_params(state, params)["w"]))
    return out


@pytest.mark.parametrize("b", [1.5, lambda count: jnp.where((count > 2) & (count < 9), 2.0, 0.0)])
def test_follows_the_rule(b):
    with jax.enable_x64(True):
        inner = optax.chain(optax.trace(0.5), optax.add_decayed_weights(0.1), optax.scale(-0.2))
        found = walk(ema_nesterov(inner, 0.8, b))
    w, m, heavy, at = START, np.zeros((4, 3)), np.zeros((4, 3)), b if callable(b) else lambda t: b
    for t, got in enumerate(found):
        y = w + float(at(t)) * m
        heavy = 0.5 * heavy + CURVATURE * y
        new = y - 0.2 * (heavy + 0.1 * y)
        m = 0.8 * m + 0.2 * (new - w)
        w = new
        np.testing.assert_allclose(got, w, atol=1e-13)


def test_without_look_ahead_it_is_the_inner_optimizer():
    for a, b in zip(walk(ema_nesterov(optax.adam(0.1), 0.9, 0.0)), walk(optax.adam(0.1)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_along_the_last_step_alone_it_is_nesterov_s():
    """With no memory the direction is the last step: W + b (W - W_last), as Nesterov's method has it."""
    with jax.enable_x64(True):
        found = walk(ema_nesterov(optax.sgd(0.3), 0.0, 0.7))
    before = w = START
    for got in found:
        y = w + 0.7 * (w - before)
        before, w = w, y - 0.3 * CURVATURE * y
        np.testing.assert_allclose(got, w, atol=1e-13)


def test_around_a_partition_it_keeps_dtypes_and_goes_faster_on_a_quadratic():
    params = {"up": {"kernel": jnp.ones((4, 6), jnp.bfloat16), "bias": jnp.ones(6)}}
    tx = ema_nesterov(
        om.for_matrices(om.muon(0.02), otherwise=optax.adam(0.1)), 0.9, 1.0, accumulator_dtype=jnp.float32
    )
    state = tx.init(params)
    updates, after = jax.jit(tx.update)(params, state, params)
    assert jax.tree.map(jnp.result_type, updates) == jax.tree.map(jnp.result_type, params)
    assert jax.tree.map(jnp.result_type, after) == jax.tree.map(jnp.result_type, state)
    plain, ahead = (
        np.sum(CURVATURE * walk(x, 40)[-1] ** 2) for x in (optax.sgd(0.3), ema_nesterov(optax.sgd(0.3), 0.5, 0.8))
    )
    assert ahead < 0.5 * plain


def test_raises():
    with pytest.raises(ValueError, match="ema_nesterov: decay"):
        ema_nesterov(optax.sgd(0.1), 1.0, 1.0)
    tx = ema_nesterov(optax.sgd(0.1), 0.5, 1.0)
    with pytest.raises(ValueError, match="needs the parameters"):
        tx.update({"w": jnp.ones(2)}, tx.init({"w": jnp.ones(2)}))
