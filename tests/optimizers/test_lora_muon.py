"""LoRA-Muon against its reference, and what does not depend on how a product is shared out between its factors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references.lora_muon import lora_muon as reference

OPTIONS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.3, "adapter_scale": 2.0}
# The same pairs in four layouts: as Flax stores them, stacked with the batch axis last, (out, in), and convolutions.
LEAVES = {
    "flax": {"lora_a": om.Leaf("hidden", 0, 1), "lora_b": om.Leaf("hidden", 0, 1)},
    "stacked": {"lora_a": om.Leaf("hidden", 0, 1), "lora_b": om.Leaf("hidden", 1, 2)},
    "torch": {"lora_a": om.Leaf("hidden", 1, 0), "lora_b": om.Leaf("hidden", -1, -2)},
    "conv": {"lora_a": om.Leaf("hidden", (0, 1, 2), 3), "lora_b": om.Leaf("hidden", (0, 1, 2), 3)},
}


def laid_out(a, b):
    """Two stacks (2, in, rank) and (2, rank, out), and the first of them, as each layout stores it."""
    return {
        "flax": {"lora_a": a[0], "lora_b": b[0]},
        "stacked": {"lora_a": np.moveaxis(a, 0, -1), "lora_b": b},
        "torch": {"lora_a": a[0].T, "lora_b": b[0].T},
        "conv": {"lora_a": a[0].reshape(1, 2, 4, 3), "lora_b": b[0].reshape(1, 1, 3, 5)},
    }


def walked(tx, params, gradients):
    """Parameters after all gradients, in one program."""

    def step(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), updates

    return jax.jit(lambda p, g: jax.lax.scan(step, (p, tx.init(p)), g))(params, gradients)


def stacked(trees):
    return jax.tree.map(lambda *xs: jnp.stack([jnp.asarray(x) for x in xs]), *trees)


def test_reference_in_x64_in_every_layout():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(11, 2, 8, 3)), rng.normal(size=(11, 2, 3, 5))
    with jax.enable_x64(True):
        tx = om.lora_muon(orthogonalizer=om.linalg.SVDPolar(), leaves=LEAVES, **OPTIONS)
        gradients = stacked([laid_out(*g) for g in zip(a[1:], b[1:], strict=True)])
        (params, _), _ = walked(tx, laid_out(a[0], b[0]), gradients)
        ends = [
            reference(a[0][i], b[0][i].T, [(g[i], h[i].T) for g, h in zip(a[1:], b[1:], strict=True)], **OPTIONS)
            for i in range(2)
        ]
        want = laid_out(np.stack([x for x, _ in ends]), np.stack([y.T for _, y in ends]))
    assert np.abs(ends[0][0] - a[0][0]).max() > 0.01
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-10, rtol=0), params, want)


def fitting(tx, target, steps):
    """A function of two factors: products on the way of fitting a target, updates, and the factors before them."""

    def step(carry, _):
        params, state = carry
        grads = jax.grad(lambda p: jnp.sum((p["lora_a"] @ p["lora_b"] - target) ** 2))(params)
        updates, state = tx.update(grads, state, params)
        after = optax.apply_updates(params, updates)
        return (after, state), (after["lora_a"] @ after["lora_b"], updates, params)

    @jax.jit
    def run(a, b):
        params = {"lora_a": a, "lora_b": b}
        return jax.lax.scan(step, (params, tx.init(params)), length=steps)[1]

    return run


def test_the_product_does_not_see_how_it_is_shared_out():
    rng = np.random.default_rng(1)
    a, b, c, target = (rng.normal(size=shape) for shape in ((7, 3), (3, 5), (3, 3), (7, 5)))
    other = a @ c, np.linalg.inv(c) @ b
    with jax.enable_x64(True):
        svd = {"orthogonalizer": om.linalg.SVDPolar()}
        plain, balanced = (
            fitting(om.lora_muon(0.1, weight_decay=0.1, balance_every=n, **svd), target, 20) for n in (0, 3)
        )
        want = plain(a, b)[0]
        for products, *_ in (plain(*other), balanced(*other)):
            np.testing.assert_allclose(products, want, atol=2e-13, rtol=0)
        # Muon on the factors sees it in its first step.
        muon = fitting(om.muon(0.1, **svd), target, 1)
        assert np.abs(muon(a, b)[0] - muon(*other)[0]).max() > 1e-2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_an_adapter_starts_from_zero_and_each_half_moves_the_product_by_half_the_rate(dtype):
    rng = np.random.default_rng(2)
    a, target = jnp.asarray(rng.normal(size=(7, 3)), dtype), jnp.asarray(rng.normal(size=(7, 5)), dtype)
    tx = om.lora_muon(0.1, orthogonalizer=om.linalg.SVDPolar(), adapter_scale=4.0)
    products, updates, params = fitting(tx, target, 3)(a, jnp.zeros((3, 5), dtype))
    assert jnp.isfinite(products).all()
    assert not updates["lora_a"][0].any()
    wide = jax.tree.map(lambda x: np.asarray(x, np.float64), (updates, params))
    (u_a, u_b), (p_a, p_b) = (tuple(tree.values()) for tree in wide)
    near = {"rtol": 0.05 if dtype == jnp.bfloat16 else 1e-4}
    for i in range(3):
        np.testing.assert_allclose(4 * np.linalg.norm(p_a[i] @ u_b[i], 2), 0.05, **near)
        if i:
            np.testing.assert_allclose(4 * np.linalg.norm(u_a[i] @ p_b[i], 2), 0.05, **near)


def test_a_square_orthogonal_partner_makes_it_muon_on_the_product():
    rng = np.random.default_rng(3)
    q, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    a, g = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    with jax.enable_x64(True):
        tx = om.lora_muon(0.1, orthogonalizer=om.linalg.SVDPolar(), momentum=0.0)
        params = {"lora_a": jnp.asarray(a), "lora_b": jnp.asarray(q)}
        grads = {"lora_a": jnp.asarray(g @ q.T), "lora_b": jnp.asarray(a.T @ g)}
        updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
        want = -0.05 * om.linalg.SVDPolar().apply(jnp.asarray(g))
    np.testing.assert_allclose(np.asarray(updates["lora_a"]) @ q, want, atol=1e-12)


def test_a_matrix_without_partner_takes_muon_s_step():
    rng = np.random.default_rng(4)
    params, grads = ({"up": {"kernel": jnp.asarray(rng.normal(size=(4, 6)), jnp.float32)}} for _ in range(2))
    options = {"momentum": 0.9, "weight_decay": 0.1, "orthogonalizer": om.linalg.SVDPolar()}
    muon = om.muon(0.1, nesterov=False, shape_scale=om.shapes.Constant(1.0), **options)
    one, other = ((tx.update(grads, tx.init(params), params)[0]) for tx in (om.lora_muon(0.1, **options), muon))
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_numbers_are_checked():
    with pytest.raises(ValueError, match="lora_muon: momentum"):
        om.lora_muon(0.1, momentum=1.0)
    with pytest.raises(ValueError, match="lora_muon: adapter_scale"):
        om.lora_muon(0.1, adapter_scale=0.0)
