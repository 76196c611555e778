"""Workers of several devices: each worker's matrices are sharded over its own; the steps are those of whole ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon import transforms, workers
from tests.workers import harness
from tests.workers.harness import AXIS, POLAR

pytestmark = pytest.mark.thinned(2)

LAYOUTS = {"inputs": P("fsdp"), "outputs": P(None, "fsdp")}
RULE = {"orthogonalizer": POLAR, "momentum": 0.8, "axis_name": AXIS}
CARDS = {
    "sign_muon": lambda leaves: om.sign_muon(0.1, leaves=leaves, **RULE),
    "ef21_muon": lambda leaves: om.ef21_muon(0.1, leaves=leaves, compressor_up=transforms.top_k(0.25), **RULE),
    "ef21_muon by signs": lambda leaves: om.ef21_muon(
        0.1, leaves=leaves, compressor_up=transforms.scale_by_mean_sign(), **RULE
    ),
    "ef21_muon by ranks": lambda leaves: om.ef21_muon(0.1, leaves=leaves, compressor_up=transforms.low_rank(2), **RULE),
    "demuon": lambda leaves: om.demuon(0.1, leaves=leaves, graph=workers.Exponential(), **RULE),
    "muloco": lambda leaves: om.muloco(0.1, leaves=leaves, period=2, **RULE),
    "loscar": lambda leaves: om.loscar(0.1, optax.ema(0.8, debias=False), leaves=leaves, period=2, axis_name=AXIS),
}
QUICK = {("ef21_muon", "inputs", "over workers alone"), ("sign_muon", "outputs", "checked, Explicit")}


def rows():
    for name in CARDS:
        for layout in LAYOUTS:
            for manner in ("checked, Explicit", "unchecked, Auto", "over workers alone"):
                row = (name, layout, manner)
                yield pytest.param(*row, id="-".join(row), marks=() if row in QUICK else pytest.mark.slow)


@pytest.mark.parametrize(("name", "layout", "manner"), list(rows()))
def test_a_worker_of_two_devices_takes_the_steps_of_one(name, layout, manner):
    spec, alone = LAYOUTS[layout], manner == "over workers alone"
    with jax.enable_x64(True):
        weights, data = harness.problem(4, same_start=True)
        expected, _ = harness.run("vmap", CARDS[name]({"up": {"kernel": om.Leaf("hidden", 0, 1)}}), weights, data)
        kind = AxisType.Explicit if "Explicit" in manner else AxisType.Auto
        mesh = jax.make_mesh((4, 2), (AXIS, "fsdp"), axis_types=(kind, kind))
        tx = CARDS[name]({"up": {"kernel": om.Leaf("hidden", 0, 1, spec=spec)}})
        one = functools.partial(harness.walk, tx)
        specs = (P(AXIS, *spec), P(AXIS, None, *spec))
        placed = [
            jax.device_put(jnp.asarray(x), NamedSharding(mesh, s)) for x, s in zip((weights, data), specs, strict=True)
        ]
        given = (P(AXIS), P(AXIS)) if alone else specs

        def body(weights, data):
            return one(weights[0], data[0])[0][None]

        options = {"axis_names": {AXIS}} if alone else {"check_vma": manner.startswith("checked")}
        mapped = jax.shard_map(body, mesh=mesh, in_specs=given, out_specs=given[0], **options)
        np.testing.assert_allclose(jax.jit(mapped)(*placed), expected, atol=1e-10)


def test_nothing_but_messages_leaves_a_worker():
    """Collectives over the workers' axis carry bits; those of the orthogonaliser stay within a worker."""
    mesh = jax.make_mesh((4, 2), (AXIS, "fsdp"), axis_types=(AxisType.Auto,) * 2)
    tx = CARDS["sign_muon"]({"up": {"kernel": om.Leaf("hidden", 0, 1, spec=P("fsdp"))}})

    def body(g):
        tree = {"up": {"kernel": g[0]}}
        return tx.update(tree, tx.init(tree), tree)[0]["up"]["kernel"][None]

    spec = P(AXIS, "fsdp")
    traced = jax.make_jaxpr(jax.shard_map(body, mesh=mesh, in_specs=spec, out_specs=spec))(np.ones((4, 16, 8)))
    found = list(collectives(traced.jaxpr))
    assert [dtype for names, dtype in found if AXIS in names] == ["uint8"]
    assert any("fsdp" in names for names, _ in found)
    assert not any({AXIS, "fsdp"} <= set(names) for names, _ in found)


def collectives(jaxpr):
    """The axes and dtype of everything that is sent."""
    for eqn in jaxpr.eqns:
        names = eqn.params.get("axis_name", eqn.params.get("axes", ()))
        if eqn.primitive.name.startswith(("all_", "psum", "pmax", "ppermute", "reduce_scatter")):
            yield (names,) if isinstance(names, str) else names, eqn.invars[0].aval.dtype.name
        inside = jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns"))
        for value in inside:
            if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                yield from collectives(getattr(value, "jaxpr", value))
