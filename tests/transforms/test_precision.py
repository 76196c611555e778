"""Averages hand on the dtype that they are kept in, and the gradients' dtype comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon import transforms

MOMENTA = {
    "nesterov_ema": transforms.nesterov_ema(0.9, accumulator_dtype=jnp.float32),
    "first_gradient_ema": transforms.first_gradient_ema(0.9, accumulator_dtype=jnp.float32),
    "two_rate_ema": transforms.two_rate_ema(0.9, 0.99, accumulator_dtype=jnp.float32),
    "extrapolated_ema": transforms.extrapolated_ema(0.9, 0.1, accumulator_dtype=jnp.float32),
    "correct_by_last_gradient": transforms.correct_by_last_gradient(0.5, accumulator_dtype=jnp.float32),
    "follow": transforms.follow(transforms.scale_by_mean_sign(), accumulator_dtype=jnp.float32),
    "low_rank_momentum": transforms.low_rank_momentum(0.9, 2, accumulator_dtype=jnp.float32),
    "closed_loop_momentum": transforms.closed_loop_momentum(accumulator_dtype=jnp.float32),
}


def gradients(dtype, seed=0):
    return {"up": {"kernel": jax.random.normal(jax.random.key(seed), (64, 64), jnp.bfloat16).astype(dtype)}}


@pytest.mark.parametrize("name", MOMENTA)
def test_an_average_is_not_rounded_to_its_gradients_dtype(name):
    tx = MOMENTA[name]
    results = []
    for dtype in (jnp.bfloat16, jnp.float32):
        state = tx.init(gradients(dtype))
        for seed in (0, 1):
            out, state = tx.update(gradients(dtype, seed), state)
        results.append(out["up"]["kernel"])
    assert results[0].dtype == jnp.float32
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6, atol=1e-6)


def test_the_nesterov_momentum_reaches_the_orthogonaliser_unrounded():
    seen = []

    class Watch(om.linalg.SVDPolar):
        def apply(self, x):
            seen.append(x)
            return x

    grads = gradients(jnp.bfloat16)
    tx = om.muon(0.1, orthogonalizer=Watch(), state_dtype=jnp.float32)
    updates, _ = tx.update(grads, tx.init(grads), grads)
    exact = np.asarray(grads["up"]["kernel"], np.float64) * (1 - 0.95**2)
    given = np.asarray(seen[-1], np.float64).reshape(64, 64)
    assert np.linalg.norm(given - exact) < 1e-6 * np.linalg.norm(exact)  # 2e-3 where it was rounded on the way
    assert updates["up"]["kernel"].dtype == jnp.bfloat16


@pytest.mark.parametrize("kinds", [(jnp.bfloat16, jnp.float32, None), (jnp.bfloat16, jnp.bfloat16, jnp.float32)])
def test_everything_is_as_wide_as_the_widest_of_gradient_parameter_and_state(kinds):
    seen = {}

    def update_fn(updates, state, params=None):
        seen.update(updates=updates.dtype, params=None if params is None else params.dtype, state=state.dtype)
        return updates, state

    inner = optax.GradientTransformation(jnp.zeros_like, update_fn)
    gradient, parameter, wide = kinds
    tx = transforms.compute_in(inner, wide)
    g, p = jnp.ones(3, gradient), jnp.ones(3, parameter)
    updates, state = tx.update(g, tx.init(p), p)
    assert updates.dtype == gradient
    assert seen == {"updates": jnp.float32, "params": jnp.float32, "state": jnp.float32}
    assert state.dtype == jnp.float32


def test_where_dtypes_agree_nothing_is_cast():
    x = {"up": jnp.ones((2, 2), jnp.bfloat16)}
    text = str(jax.make_jaxpr(lambda x: transforms.compute_in(optax.scale(2.0)).update(x, (), x)[0])(x))
    assert "convert_element_type" not in text
