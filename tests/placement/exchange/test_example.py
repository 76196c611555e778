"""The example that the engine's docstrings return to: four matrices on four devices, number for number."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.placement import OverMesh, Work
from optax_muon.placement._buckets import Size, buckets
from optax_muon.placement._remainders import Placed, Span, share_remainders
from optax_muon.placement._sharding import find_layout
from optax_muon.placement.exchange._planner import exchange_elements
from optax_muon.placement.exchange._tiles import assemble, disassemble

SHAPES = {"A": (8, 32), "B": (8, 32), "C": (32, 8), "D": (32, 8)}
SIZES = [Size((1, *shape), jnp.dtype("float32")) for shape in SHAPES.values()]


def planned(names=tuple(SHAPES)):
    mesh = jax.sharding.AbstractMesh((4,), ("fsdp",))
    sharding = NamedSharding(mesh, P("fsdp"))
    works = [
        Work(jax.ShapeDtypeStruct(SHAPES[name[0]], jnp.float32, sharding=sharding), om.Leaf("hidden", 0, 1), path=name)
        for name in names
    ]
    layouts = [find_layout(work.array, work.leaf, work.path) for work in works]
    return OverMesh().schedule(om.linalg.NewtonSchulz(), works, layouts)


def test_tiles():
    schedule, shards = planned()
    assert [shard.shape for shard in shards] == [(2, 32), (2, 32), (8, 8), (8, 8)]
    assert [cut.blocks[0].local for cut in schedule.cuts] == [(2, 32), (2, 32), (8, 8), (8, 8)]
    assert schedule.cuts[0].blocks[0].rows == ((("fsdp",), 2),)
    assert schedule.cuts[0].blocks[0].cols == (((), 32),)


def test_one_run_in_one_round():
    schedule, shards = planned()
    [group] = schedule.groups
    [[run]] = group.rounds
    assert (run.shape, run.team, run.repeat, run.count, run.travels) == ((8, 32), 1, 1, 4, True)
    owners = [shards[schedule.origins[part.item.index][0]].path for part in run.parts]
    assert owners == ["A", "B", "C", "D"]
    assert exchange_elements(run.kinds, run.team, group.grid) == (64, 64)
    [[eight]] = planned([f"A{i}" for i in range(8)])[0].groups[0].rounds
    assert eight.repeat == 2


def test_a_tile_becomes_two_rows():
    block = planned()[0].cuts[0].blocks[0]
    a = np.arange(256.0, dtype=np.float32).reshape(1, 8, 32)
    tiles = disassemble(jnp.asarray(a), block, {"fsdp": 4})
    np.testing.assert_array_equal(tiles, a.reshape(1, 4, 64))
    np.testing.assert_array_equal(tiles[0, 3].reshape(2, 32), a[0, 6:8])
    np.testing.assert_array_equal(assemble(tiles, block, {"fsdp": 4}), a)


def test_buckets_with_and_without_transposes():
    together = buckets(SIZES, merge_transposes=True, max_bytes=1 << 20)
    assert [[member.transposed for member in bucket] for bucket in together] == [[False, False, True, True]]
    assert [len(bucket) for bucket in buckets(SIZES, merge_transposes=False, max_bytes=1 << 20)] == [2, 2]


def test_two_remainders_share_a_run():
    apart = buckets(SIZES, merge_transposes=False, max_bytes=1 << 20)
    assert share_remainders(apart, SIZES, 4, turn=True) == [
        [Placed(0, (Span(0, 0, 1), Span(1, 0, 1))), Placed(2, (Span(2, 0, 1), Span(3, 0, 1)))]
    ]
    assert len(share_remainders(apart, SIZES, 4, turn=False)) == 2
