"""Signs with one size per matrix, and what follows by them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.transforms import follow, scale_by_mean_sign, step_by_messages

STACKED = {"w": om.Leaf("hidden", 1, 2)}


def test_contraction_of_every_matrix_by_its_own_mean():
    x = jax.random.normal(jax.random.key(0), (2, 3, 4)) * jnp.array([1.0, 10.0])[:, None, None]
    tx = scale_by_mean_sign(leaves=STACKED)
    y = tx.update({"w": x}, tx.init({"w": x}))[0]["w"]
    for a, b in zip(np.asarray(x, np.float64), np.asarray(y, np.float64), strict=True):
        np.testing.assert_allclose(b, np.abs(a).mean() * np.sign(a), rtol=1e-6)
        np.testing.assert_allclose(np.sum((b - a) ** 2), np.sum(a**2) - np.abs(a).sum() ** 2 / a.size, rtol=1e-5)


def test_an_estimate_reaches_a_constant():
    x = {"w": jax.random.normal(jax.random.key(0), (2, 3, 4))}
    tx = follow(scale_by_mean_sign(leaves=STACKED))
    update, state, errors = jax.jit(tx.update), tx.init(x), []
    for _ in range(60):
        d, state = update(x, state)
        errors.append(float(jnp.linalg.norm(d["w"] - x["w"])))
    assert errors[-1] < 1e-2 * errors[0]
    assert all(b <= a for a, b in zip(errors, errors[1:], strict=False))


def test_an_exact_compressor_is_no_compressor():
    x = {"w": jnp.ones((2, 3, 4))}
    tx = follow(optax.identity())
    assert (tx.update(x, tx.init(x))[0]["w"] == 1).all()
    tx = step_by_messages(optax.identity())
    updates, state = tx.update(x, tx.init(x), x)
    assert (updates["w"] == 1).all()
    assert (state.value["w"] == 2).all()


def test_an_inner_optimizer_sees_the_exact_weights():
    params, zero = {"w": jnp.full((2, 3, 4), 8.0)}, {"w": jnp.zeros((2, 3, 4))}
    tx = step_by_messages(optax.scale(0.0), optax.chain(optax.add_decayed_weights(0.5), optax.scale(-1.0)))
    state = tx.init(params)
    for expected in (4.0, 2.0):  # the parameters stay where they are
        _, state = tx.update(zero, state, params)
        assert (state.value["w"] == expected).all()


def test_parameters_follow_the_exact_weights():
    params = {"w": jnp.zeros((2, 3, 4))}
    step = {"w": jax.random.normal(jax.random.key(0), (2, 3, 4))}
    tx = step_by_messages(scale_by_mean_sign(leaves=STACKED))
    update, state = jax.jit(tx.update), tx.init(params)
    for i in range(60):
        updates, state = update(step if i < 5 else jax.tree.map(jnp.zeros_like, step), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(state.value["w"], 5 * step["w"], rtol=1e-6)
    np.testing.assert_allclose(params["w"], 5 * step["w"], atol=0.05)
    with pytest.raises(ValueError, match="parameters"):
        tx.update(step, state)
