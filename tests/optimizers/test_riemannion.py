"""Riemannion against its reference of whole matrices, and what is left of it at full rank."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.references.riemannion import riemannion as reference

STEPS = 10


def trained(tx, a, b, gradients):
    """Products after every step along given gradients of the product."""

    def step(carry, g):
        params, state = carry
        a, b = params["lora_a"], params["lora_b"]
        updates, state = tx.update({"lora_a": g @ b.T, "lora_b": a.T @ g}, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), (params["lora_a"] @ params["lora_b"], updates)

    @jax.jit
    def run(a, b, gradients):
        params = {"lora_a": a, "lora_b": b}
        return jax.lax.scan(step, (params, tx.init(params)), gradients)[1]

    return jax.tree.map(np.asarray, run(*map(jnp.asarray, (a, b, gradients))))


def drawn(rank=2, m=7, n=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=(m, rank)), rng.normal(size=(rank, n)), rng.normal(size=(STEPS, m, n))


@pytest.mark.parametrize("keeps", ["momentum", "direction"])
def test_reference_in_x64_for_any_factors(keeps):
    options = {"learning_rate": 0.1, "keeps": keeps, "weight_decay": 0.3}
    a, b, gradients = drawn()
    c = np.random.default_rng(1).normal(size=(2, 2))
    with jax.enable_x64(True):
        tx = om.riemannion(**options)
        for factors in ((a, b), (a @ c, np.linalg.inv(c) @ b)):
            products, _ = trained(tx, *factors, gradients)
            want = reference((a @ b).T, 2, [g.T for g in gradients], **options).T
            np.testing.assert_allclose(products[-1], want, atol=1e-9, rtol=0)
            assert np.linalg.matrix_rank(products[-1], tol=1e-9) == 2


def test_at_full_rank_it_is_muon_with_a_heavy_ball():
    a, b, gradients = drawn(rank=4, m=4, n=6)
    with jax.enable_x64(True):
        products, _ = trained(om.riemannion(0.05), a, b, gradients)
        w, state = {"w": jnp.asarray(a @ b)}, None
        tx = optax.chain(
            optax.trace(0.9), om.transforms.apply_to_matrices(om.linalg.SVDPolar()), optax.scale_by_learning_rate(0.05)
        )
        state = tx.init(w)
        for g, product in zip(gradients, products, strict=True):
            updates, state = tx.update({"w": jnp.asarray(g)}, state)
            w = optax.apply_updates(w, updates)
            np.testing.assert_allclose(product, w["w"], atol=1e-7, rtol=0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_an_adapter_starts_from_zero_and_its_factors_move_little(dtype):
    a, b, gradients = (jnp.asarray(x, dtype) for x in drawn())
    products, updates = trained(om.riemannion(0.1, adapter_scale=2.0), a, 0 * b, gradients)
    products = np.asarray(products, np.float32)
    assert np.isfinite(products).all()
    # Tangent to nothing but its own rank at first, so that the whole rate is used by both directions.
    np.testing.assert_allclose(2 * np.linalg.svd(products[0])[1][:2], 0.1, rtol=0.05 if dtype == jnp.bfloat16 else 1e-3)
    steps = np.diff(products, axis=0)
    lengths = 2 * np.linalg.norm(steps, 2, axis=(-2, -1))
    assert (lengths < 0.16).all()
    assert (lengths > 0.04).all()
    late = {name: np.abs(np.asarray(u, np.float32)[3:]).max() for name, u in updates.items()}
    assert max(late.values()) < 0.3, late


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_on_a_mesh_the_step_is_that_of_whole_factors(kind):
    rng = np.random.default_rng(0)
    specs = {"lora_a": P("x", "y"), "lora_b": P(None, "x")}
    leaves = {name: om.Leaf("hidden", 0, 1) for name in specs}

    def step(params, grads):
        tx = om.riemannion(0.1, leaves=leaves)
        return optax.apply_updates(params, tx.update(grads, tx.init(params), params)[0])

    with jax.enable_x64(True):
        params, grads = (
            {"lora_a": jnp.asarray(rng.normal(size=(16, 4))), "lora_b": jnp.asarray(rng.normal(size=(4, 12)))}
            for _ in range(2)
        )
        want = jax.jit(step)(params, grads)
        mesh = jax.make_mesh((2, 2), ("x", "y"), axis_types=(kind,) * 2, devices=jax.devices()[:4])
        with jax.set_mesh(mesh):
            placed = {name: NamedSharding(mesh, spec) for name, spec in specs.items()}
            got = jax.jit(step)(jax.device_put(params, placed), jax.device_put(grads, placed))
    for name, x in want.items():
        np.testing.assert_allclose(got[name], x, atol=1e-12, rtol=0)
        assert got[name].sharding.spec == specs[name]


def test_a_wrong_word_is_an_error():
    with pytest.raises(ValueError, match="keeps must be 'momentum' or 'direction'"):
        om.riemannion(0.1, keeps="both")
