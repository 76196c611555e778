"""Training in lengths and directions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from optax_muon.transforms import in_weight_norm


def test_two_gradient_descents_are_those_of_the_reparametrised_model():
    """Against differentiation through W = g v / |v|, with v and g as parameters."""
    target, w = jax.random.normal(jax.random.key(0), (2, 5, 3))
    curved = jnp.arange(1.0, 6.0)[:, None]

    def loss(w):
        return 0.5 * jnp.sum(curved * (w - target) ** 2)

    def through(parts):
        return loss(parts["g"] * parts["v"] / jnp.linalg.norm(parts["v"], axis=0, keepdims=True))

    tx = in_weight_norm(optax.sgd(0.05), optax.sgd(0.02))
    params, parts = {"w": w}, {"g": jnp.linalg.norm(w, axis=0, keepdims=True), "v": w}
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(4):
        updates, state = update(jax.grad(lambda p: loss(p["w"]))(params), state, params)
        params = optax.apply_updates(params, updates)
        slope = jax.grad(through)(parts)
        parts = {"g": parts["g"] - 0.02 * slope["g"], "v": parts["v"] - 0.05 * slope["v"]}
        np.testing.assert_allclose(jnp.linalg.norm(params["w"], axis=0, keepdims=True), parts["g"], rtol=1e-5)
        whole = parts["g"] * parts["v"] / jnp.linalg.norm(parts["v"], axis=0, keepdims=True)
        np.testing.assert_allclose(params["w"], whole, atol=1e-5)
        np.testing.assert_allclose(state.length["w"], jnp.linalg.norm(parts["v"], axis=0, keepdims=True), rtol=1e-5)


def test_the_rules_see_what_each_is_for():
    """No length in the gradient of a direction, and only lengths where the function is of directions alone."""
    seen = {}

    def spy(name):
        def update_fn(updates, state, params=None, **extra_args):
            seen[name] = updates
            return updates, state

        return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)

    w = jax.random.normal(jax.random.key(0), (5, 3))
    tx = in_weight_norm(spy("direction"), spy("magnitude"))
    for f in (lambda w: jnp.sum(w**3), lambda w: jnp.sum((w / jnp.linalg.norm(w, axis=0, keepdims=True)) ** 3)):
        tx.update({"w": jax.grad(f)(w)}, tx.init({"w": w}), {"w": w})
        np.testing.assert_allclose(jnp.sum(seen["direction"]["w"] * w, axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(seen["magnitude"]["w"], 0, atol=1e-5)


def test_vectors_of_zeros_stay():
    w = jnp.ones((5, 3)).at[:, 1].set(0)
    tx = in_weight_norm(optax.sgd(0.1), optax.sgd(0.1))
    updates, state = tx.update({"w": jnp.ones((5, 3))}, tx.init({"w": w}), {"w": w})
    np.testing.assert_array_equal(updates["w"][:, 1], 0)
    assert jnp.isfinite(state.length["w"]).all()


def test_refusals():
    with pytest.raises(ValueError, match="side"):
        in_weight_norm(optax.sgd(0.1), optax.sgd(0.1), side="rows")
    tx = in_weight_norm(optax.sgd(0.1), optax.sgd(0.1))
    with pytest.raises(ValueError, match="parameters"):
        tx.update({}, tx.init({}))
    with pytest.raises(ValueError, match="for_matrices"):
        tx.init({"norm": {"scale": jnp.ones(3)}})
    assert om.muown(0.1).init({}) is not None
