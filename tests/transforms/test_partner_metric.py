"""Rules in the metric of a product: on meshes, out of range, and the decay and balance of factors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om

# Two stacked adapters, and one whose axes stand the other way.
LEAVES = {
    "layers": {"lora_a": om.Leaf("hidden", 1, 2), "lora_b": om.Leaf("hidden", 1, 2)},
    "up": {"lora_a": om.Leaf("hidden", 1, 0), "lora_b": om.Leaf("hidden", 1, 0)},
}
SHAPES = {"layers": {"lora_a": (2, 8, 4), "lora_b": (2, 4, 6)}, "up": {"lora_a": (4, 6), "lora_b": (8, 4)}}
# Batch, long sides and ranks are all cut somewhere.
SPECS = {
    "layers": {"lora_a": P("x", "y"), "lora_b": P("x", None, "y")},
    "up": {"lora_a": P("x", "y"), "lora_b": P(None, "x")},
}
is_shape = {"is_leaf": lambda x: isinstance(x, tuple)}


def draw(seed, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda n: jnp.asarray(rng.normal(size=n), dtype), SHAPES, **is_shape)


def stepped(leaves, params, grads):
    tx = om.lora_muon(0.1, weight_decay=0.1, balance_every=1, leaves=leaves)
    updates, state = tx.update(grads, tx.init(params), params)
    return optax.apply_updates(params, updates), state[1][0]  # with the momentum, which is balanced too


@functools.cache
def whole():
    return jax.jit(functools.partial(stepped, LEAVES))(draw(0), draw(1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_on_a_mesh_and_inside_a_map_the_steps_are_those_of_whole_arrays(kind):
    mesh = jax.make_mesh((2, 2), ("x", "y"), axis_types=(kind,) * 2, devices=jax.devices()[:4])
    shardings = jax.tree.map(lambda s: NamedSharding(mesh, s), SPECS, is_leaf=lambda x: isinstance(x, P))
    inside = jax.tree.map(
        lambda leaf, spec: dataclasses.replace(leaf, spec=spec), LEAVES, SPECS, is_leaf=lambda x: isinstance(x, om.Leaf)
    )
    with jax.set_mesh(mesh):
        placed = jax.device_put((draw(0), draw(1)), (shardings, shardings))
        got = jax.jit(functools.partial(stepped, LEAVES))(*placed)
        body = lambda *a: stepped(inside, *a)[0]  # noqa: E731
        mapped = jax.jit(jax.shard_map(body, in_specs=(SPECS, SPECS), out_specs=SPECS))(*placed)
    for result, want in ((got, whole()), (mapped, whole()[0])):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5), result, want)


def test_a_partner_out_of_range_gives_finite_steps_and_a_nan_stays_in_its_pair():
    params, grads = draw(0), draw(1)
    tx = om.transforms.in_partner_metric(
        om.transforms.apply_to_matrices(om.linalg.SVDPolar(), leaves=LEAVES), leaves=LEAVES
    )
    update = jax.jit(lambda g, p: tx.update(g, tx.init(p), p)[0])
    for size in (1e30, 1e-30, 0.0):
        params["up"]["lora_b"] = size * draw(0)["up"]["lora_b"]
        moved = update(grads, params)
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(moved))
        if size == 1e30:  # the product moves by one all the same
            a, b = (np.asarray(x, np.float64) for x in (moved["up"]["lora_a"], params["up"]["lora_b"]))
            np.testing.assert_allclose(np.linalg.norm(b @ a, 2), 1, rtol=1e-4)
    params["up"]["lora_b"] = draw(0)["up"]["lora_b"].at[0, 0].set(jnp.nan)
    moved = update(grads, params)
    assert jnp.isnan(moved["up"]["lora_a"]).any(), "a NaN must be seen"
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(moved["layers"]))


def test_a_power_of_zero_is_the_inner_rule_and_parameters_are_needed():
    params, grads = draw(0), draw(1)
    inner = om.transforms.apply_to_matrices(om.linalg.SVDPolar(), leaves=LEAVES)
    tx = om.transforms.in_partner_metric(inner, power=0.0, leaves=LEAVES)
    run = jax.jit(lambda g, p: [t.update(g, t.init(p), p)[0] for t in (tx, inner)])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), *run(grads, params))
    t = om.transforms
    for name, needy in (
        ("in_partner_metric", tx),
        ("decay_product", t.decay_product(0.1, leaves=LEAVES)),
        ("balance_pairs", t.balance_pairs(inner, leaves=LEAVES)),
    ):
        with pytest.raises(ValueError, match=f"{name} needs the parameters"):
            needy.update(grads, needy.init(params))
    with pytest.raises(ValueError, match="floor must be positive"):
        t.in_partner_metric(inner, floor=0.0)
    with pytest.raises(ValueError, match="decay_product: weight_decay"):
        t.decay_product(1.0)


def products(tree):
    layers, up = (jax.tree.map(np.asarray, tree[name]) for name in ("layers", "up"))
    return np.concatenate([np.ravel(layers["lora_a"] @ layers["lora_b"]), np.ravel(up["lora_b"] @ up["lora_a"])])


def test_the_product_decays_by_its_share():
    with jax.enable_x64(True):
        params, grads = draw(0, jnp.float64), draw(1, jnp.float64)
        for decay in (0.19, lambda count: 0.19 + count):
            tx = om.transforms.decay_product(decay, leaves=LEAVES)
            after = jax.jit(lambda g, p, tx=tx: optax.apply_updates(p, tx.update(g, tx.init(p), p)[0]))(grads, params)
            mixed = [
                products({k: {"lora_a": a[k]["lora_a"], "lora_b": b[k]["lora_b"]} for k in SHAPES})
                for a, b in ((params, params), (grads, params), (params, grads), (grads, grads))
            ]
            want = 0.81 * mixed[0] + mixed[1] + mixed[2] + mixed[3] / 0.81
            np.testing.assert_allclose(products(after), want, atol=1e-12)


def test_balanced_factors_have_one_norm_and_the_same_product():
    with jax.enable_x64(True):
        params, grads = draw(0, jnp.float64), draw(1, jnp.float64)
        params["up"]["lora_a"] = 100 * params["up"]["lora_a"]
        params["layers"]["lora_b"] = params["layers"]["lora_b"].at[1].set(0)
        tx = om.transforms.balance_pairs(optax.chain(optax.trace(0.5), optax.scale(-0.1)), leaves=LEAVES)
        zero = jax.tree.map(jnp.zeros_like, grads)
        after = jax.jit(lambda g, p: optax.apply_updates(p, tx.update(g, tx.init(p), p)[0]))(zero, params)
    np.testing.assert_allclose(products(after), products(params), atol=1e-12)
    for a, b in ((after["up"]["lora_a"], after["up"]["lora_b"]), (x[0] for x in after["layers"].values())):
        np.testing.assert_allclose(np.linalg.norm(a, 2), np.linalg.norm(b, 2), rtol=1e-12)
    # A factor of zeros has no size to share.
    np.testing.assert_array_equal(after["layers"]["lora_a"][1], params["layers"]["lora_a"][1])


@pytest.mark.parametrize("outputs", [1, 3, 4, 9])
def test_a_step_is_bounded_whatever_rank_the_factors_have(outputs):
    """Behind few outputs an adapter of rank 4 has directions that nothing can be divided by."""
    rng, rate = np.random.default_rng(0), 0.1
    inputs, target = (jnp.asarray(rng.normal(size=(32, n)), jnp.float32) for n in (8, outputs))
    params = {"lora_a": jnp.asarray(rng.normal(size=(8, 4)), jnp.float32), "lora_b": jnp.zeros((4, outputs))}
    tx = om.lora_muon(rate, leaves={name: om.Leaf("hidden", 0, 1) for name in params})

    def product(params):
        return params["lora_a"] @ params["lora_b"]

    @jax.jit
    def step(params, state):
        grads = jax.grad(lambda p: jnp.mean((inputs @ product(p) - target) ** 2))(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(12):
        before = params
        params, state = step(params, state)
        # Half a step by each factor, and as much by both together where one of them doubles.
        assert jnp.linalg.norm(product(params) - product(before), 2) < 1.8 * rate
        assert jnp.linalg.norm(params["lora_a"], 2) < 3 * jnp.linalg.norm(before["lora_a"], 2)
