"""Meshes of one device and axes of length one, which specs name and which shard nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om

pytestmark = pytest.mark.thinned(2)

W = jnp.asarray(np.random.default_rng(0).normal(size=(8, 24)), jnp.float32)
PARAMS = {"up": {"kernel": W}}


def step(params, **options):
    # One step of the iteration: most of the time is the compiler's.
    tx = om.normuon(0.1, orthogonalizer=om.linalg.NewtonSchulz(om.linalg.JORDAN_2024.first(1)), **options)
    return jax.jit(lambda p: tx.update(p, tx.init(p), p)[0])(params)["up"]["kernel"]


def placed(sizes, spec, kind):
    names = tuple(f"a{i}" for i in range(len(sizes)))
    mesh = jax.make_mesh(sizes, names, devices=jax.devices()[: np.prod(sizes)], axis_types=(kind,) * len(sizes))
    return mesh, {"up": {"kernel": jax.device_put(W, NamedSharding(mesh, spec))}}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize(
    ("sizes", "spec"),
    [((1,), P("a0")), ((4, 1), P("a0", "a1")), ((4, 1), P(None, ("a1", "a0")))],
    ids=str,
)
def test_an_axis_of_length_one_changes_nothing(sizes, spec, kind):
    mesh, params = placed(sizes, spec, kind)
    leaves = {"up": {"kernel": om.Leaf("hidden", 0, 1, spec=spec)}}
    with jax.set_mesh(mesh):
        # An Explicit mesh is in the types; an Auto one needs the spec.
        options = {} if kind == AxisType.Explicit else {"leaves": leaves}
        np.testing.assert_allclose(step(params, **options), step(PARAMS), atol=1e-5)
        om.placement_report(params)


@pytest.mark.parametrize(("sizes", "check"), [((1,), True), ((4, 1), True), ((4, 1), False)], ids=str)
def test_an_axis_of_length_one_in_the_callers_map(sizes, check):
    spec = P("a0") if len(sizes) == 1 else P("a1", "a0")
    mesh, params = placed(sizes, spec, AxisType.Auto)
    tx = om.dion(0.1, leaves={"up": {"kernel": om.Leaf("hidden", 0, 1, spec=spec)}})
    plain = om.dion(0.1)
    specs = jax.tree.map(
        lambda s: s.spec, om.state_shardings(plain, params, {"up": {"kernel": NamedSharding(mesh, spec)}})
    )

    def two(tx, params):
        state = tx.init(params)
        for _ in range(2):
            updates, state = tx.update(params, state, params)
        return updates, state

    body = jax.shard_map(lambda p: two(tx, p), mesh=mesh, in_specs=spec, out_specs=(spec, specs), check_vma=check)
    updates, _ = jax.jit(body)(params)
    expected, _ = two(plain, PARAMS)
    np.testing.assert_allclose(updates["up"]["kernel"], expected["up"]["kernel"], atol=1e-5)


@pytest.mark.parametrize("mapped", [True, False])
def test_a_spec_longer_than_the_rank_is_named(mapped):
    mesh, params = placed((4, 1), P("a0"), AxisType.Auto)
    tx = om.muon(0.1, leaves={"up": {"kernel": om.Leaf("hidden", 0, 1, spec=P("a0", None, None))}})
    run = lambda p: tx.update(p, tx.init(p), p)[0]  # noqa: E731
    if mapped:
        run = jax.shard_map(run, mesh=mesh, in_specs=P("a0"), out_specs=P("a0"))
    with (
        jax.set_mesh(mesh),
        pytest.raises(ValueError, match=r"up/kernel: its spec .* has 3 entries, and the array has 2"),
    ):
        jax.jit(run)(params)


def test_a_pmap_is_a_map_too_and_warns_where_nothing_tells():
    def run(tx):
        """One update of four shards of two rows each."""

        def one(w):
            grads = {"up": {"kernel": w}}
            return tx.update(grads, tx.init(grads), grads)[0]["up"]["kernel"]

        return jax.pmap(one, axis_name="i", devices=jax.devices()[:4])(W.reshape(4, 2, 24)).reshape(W.shape)

    plain = om.rmnp(0.1)
    told = om.rmnp(0.1, leaves={"up": {"kernel": om.Leaf("hidden", 0, 1, spec=P("i"))}})
    expected = plain.update(PARAMS, plain.init(PARAMS), PARAMS)[0]["up"]["kernel"]
    np.testing.assert_allclose(run(told), expected, atol=1e-6)
    with pytest.warns(UserWarning, match="up/kernel .one of 1.: inside jax.pmap"):
        run(plain)
