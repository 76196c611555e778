"""Steps with two gradients, and accumulation over micro-batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.state import floats_per_parameter


def loss(params, x):
    hidden = jnp.tanh(x @ params["up"]["kernel"])
    return jnp.mean(jnp.square(hidden @ params["down"]["kernel"] + params["down"]["bias"][None] - x))


def start(seed=0):
    rng = np.random.default_rng(seed)
    up, down = rng.normal(size=(4, 8)), rng.normal(size=(8, 4))
    return {"up": {"kernel": jnp.asarray(up)}, "down": {"kernel": jnp.asarray(down), "bias": jnp.zeros(4)}}


def storm():
    make = functools.partial(
        om.muon_mvr, 0.02, previous="same_batch", gamma=1.0, clip=None, orthogonalizer=om.linalg.SVDPolar()
    )
    return om.remember_previous_params(om.for_matrices(make, otherwise=optax.adam(1e-2)))


def batches(n, size=8):
    return jnp.asarray(np.random.default_rng(1).normal(size=(n, size, 4)))


def test_second_gradient_is_this_batch_at_all_previous_parameters():
    seen = []

    def record(updates, state, params=None, *, grads_at_previous_params, value, **extra_args):
        seen.append((grads_at_previous_params, value))
        return updates, state

    tx = om.remember_previous_params(
        optax.chain(optax.GradientTransformationExtraArgs(lambda p: optax.EmptyState(), record), optax.sgd(0.1))
    )
    step, params = om.step_with_two_gradients(loss, tx), start()
    state, history = tx.init(params), []
    for x in batches(3):
        history.append(params)
        params, state, _ = step(params, state, x)
    for i, (x, (before, value)) in enumerate(zip(batches(3), seen, strict=True)):
        wanted = jax.grad(loss)(history[max(i - 1, 0)], x)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), before, wanted)
        np.testing.assert_allclose(value, loss(history[i], x), rtol=1e-6)


def test_storm_momentum_is_the_exact_gradient_of_a_deterministic_problem():
    with jax.enable_x64(True):
        x, params, tx = batches(1)[0], start(), storm()
        step, state = jax.jit(om.step_with_two_gradients(loss, tx)), tx.init(params)
        for _ in range(4):
            exact = jax.grad(loss)(params, x)
            params, state, _ = step(params, state, x)
            momentum = optax.tree.get(state, "ema")
            np.testing.assert_allclose(momentum["up"]["kernel"], exact["up"]["kernel"], atol=1e-14)


def test_two_gradients_over_micro_batches_equal_one_large_batch():
    with jax.enable_x64(True):
        whole, tx = storm(), om.multi_steps(storm(), 2, trees=["grads_at_previous_params"], scalars=["value"])
        large = jax.jit(om.step_with_two_gradients(loss, whole))
        small = jax.jit(om.step_with_two_gradients(loss, tx))
        a, b = start(), start()
        state_a, state_b = whole.init(a), tx.init(b)
        for x in batches(3, 16):
            a, state_a, _ = large(a, state_a, x)
            for half in (x[:8], x[8:]):
                b, state_b, _ = small(b, state_b, half)
        jax.tree.map(lambda p, q: np.testing.assert_allclose(p, q, atol=1e-12), a, b)


def test_scalars_are_averaged_and_others_pass():
    def emit(updates, state, params=None, *, value, kept, **extra_args):
        return jax.tree.map(lambda u: u * 0 + value + kept, updates), state

    inner = optax.GradientTransformationExtraArgs(lambda p: optax.EmptyState(), emit)
    tx = om.multi_steps(inner, 2, scalars=["value"])
    params = {"w": jnp.ones(3)}
    state = tx.init(params)
    for value in (1.0, 5.0):
        updates, state = tx.update(params, state, params, value=value, kept=10.0)
    np.testing.assert_allclose(updates["w"], 13.0)


def test_errors_say_what_to_do():
    params = start()
    with pytest.raises(ValueError, match="every must be at least 1, not 0"):
        om.multi_steps(optax.sgd(1.0), 0)
    tx = om.multi_steps(optax.sgd(1.0), 2, trees=["grads_at_previous_params"])
    with pytest.raises(ValueError, match="'grads_at_previous_params'"):
        tx.update(params, tx.init(params), params)
    with pytest.raises(ValueError, match="remember_previous_params"):
        om.previous_params(optax.sgd(1.0).init(params), params)


def test_state_sizes():
    assert floats_per_parameter(storm(), {"up": {"kernel": jnp.zeros((4, 6))}}) == 2
    tx = om.multi_steps(optax.sgd(1.0), 2, trees=["other"])
    assert floats_per_parameter(tx, {"w": jnp.zeros(4)}) == 2
