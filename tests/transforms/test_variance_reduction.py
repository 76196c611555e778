"""Gradient corrections: the identities that make them variance reduction."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_muon as om
from tests.state import floats_per_parameter

BETA = 0.8


def emissions(tx, gradients, extra=None):
    tx = optax.with_extra_args_support(tx)
    state, out = tx.init(gradients[0]), []
    for i, g in enumerate(gradients):
        u, state = tx.update(g, state, **({name: values[i] for name, values in (extra or {}).items()}))
        out.append(u)
    return out


def random_gradients(seed=0, steps=5):
    return list(jnp.asarray(np.random.default_rng(seed).normal(size=(steps, 3, 4))))


def test_storm_keeps_the_exact_gradient_on_a_deterministic_problem():
    with jax.enable_x64(True):
        points = random_gradients()
        exact = [jnp.sin(x) for x in points]  # any gradient field
        before = [exact[0], *exact[:-1]]
        tx = optax.chain(om.transforms.correct_by_same_batch(BETA / (1 - BETA)), optax.ema(BETA, debias=False))
        for got, want in zip(emissions(tx, exact, {"grads_at_previous_params": before}), exact, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-14)


def test_two_buffers_and_one_are_the_same():
    with jax.enable_x64(True):
        gamma, gradients = 0.3, random_gradients()
        two = optax.chain(
            om.transforms.correct_by_last_gradient(gamma * BETA / (1 - BETA)), optax.ema(BETA, debias=False)
        )
        one = om.transforms.extrapolated_ema(BETA, gamma)
        for a, b in zip(emissions(two, gradients), emissions(one, gradients), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-14)


def test_extrapolated_ema_holds_nesterov():
    gradients = random_gradients()
    ours = emissions(om.transforms.extrapolated_ema(BETA, 1 - BETA), gradients)
    nesterov = emissions(om.transforms.nesterov_ema(BETA), gradients)
    np.testing.assert_allclose(np.array(ours), np.array(nesterov), rtol=1e-5)


def test_a_broken_gradient_at_the_first_step_is_not_used():
    tx = om.transforms.correct_by_same_batch(1.0)
    g = jnp.ones((2, 2))
    assert jnp.all(emissions(tx, [g], {"grads_at_previous_params": [g * jnp.nan]})[0] == 2)


def test_state_sizes():
    params = {"w": jnp.zeros((4, 6))}
    assert floats_per_parameter(om.transforms.correct_by_last_gradient(1.0), params) == 1
    assert floats_per_parameter(om.transforms.correct_by_same_batch(1.0), params) == 0
    assert floats_per_parameter(om.transforms.extrapolated_ema(BETA, 0.1), params) == 1
