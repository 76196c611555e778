"""Votes between workers, and inside a worker a slow axis over which no matrix travels."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from tests.placement.test_no_collectives import COLLECTIVE, groups
from tests.workers.harness import AXIS

NAMES = (AXIS, "fsdp", "hosts")  # device 4 i + 2 j + k
SHAPE = (2, 4, 16, 32)  # workers, layers, reduction, output
LEAVES = {"up": {"kernel": om.Leaf("hidden", 1, 2, spec=P(None, "fsdp"))}}


def step(mesh, axis_name=AXIS, **options):
    """One update of every worker's own gradient by `sign_muon`, the map over the workers alone."""
    placement = om.OverMesh(flops_per_byte=0.0, **options)
    rule = {"orthogonalizer": om.linalg.NewtonSchulz(), "leaves": LEAVES, "placement": placement}
    tx = om.sign_muon(0.1, axis_name=axis_name, **rule)

    def body(gradient):
        tree = {"up": {"kernel": gradient[0]}}
        return tx.update(tree, tx.init(tree), tree)[0]["up"]["kernel"][None]

    if axis_name is None:
        return jax.vmap(lambda g: body(g[None])[0])
    return jax.shard_map(body, mesh=mesh, in_specs=P(AXIS), out_specs=P(AXIS), axis_names={AXIS})


def crossed(program):
    """Axes that every collective of a compiled program crosses, with the line."""
    for line in program.as_text().splitlines():
        if COLLECTIVE.search(line):
            found = groups(line)
            ranks = {AXIS: found // 4, "fsdp": found // 2 % 2, "hosts": found % 2}
            yield {name for name, rank in ranks.items() if (rank != rank[:, :1]).any()}, line


def test_matrices_stay_off_the_slow_axis_and_only_bits_leave_a_worker():
    mesh = jax.make_mesh((2, 2, 2), NAMES, axis_types=(AxisType.Auto,) * 3)
    given = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE), jnp.float32)
    placed = jax.device_put(given, NamedSharding(mesh, P(AXIS, None, "fsdp")))
    with jax.set_mesh(mesh):
        slow, free = (jax.jit(step(mesh, **o)).lower(placed).compile() for o in ({"slow_axes": ("hosts",)}, {}))
        got = np.asarray(slow(placed))
    found = list(crossed(slow))
    assert any(axes == {"fsdp"} for axes, _ in found), "matrices that are cut must travel"
    assert not any("hosts" in axes for axes, _ in found)
    messages = [line for axes, line in found if AXIS in axes]
    assert messages
    assert all("u8[" in line.split(" = ")[1].split("(")[0] for line in messages)
    assert any("hosts" in axes for axes, _ in crossed(free)), "without the option the replicas would share the work"
    one = np.asarray(step(mesh, None)(given))
    # Two workers: a sign where they agree, zero where they do not.
    np.testing.assert_array_equal(got, np.broadcast_to(0.5 * one.sum(0), SHAPE))
