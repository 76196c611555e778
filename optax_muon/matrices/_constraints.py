"""A mesh whose shardings cannot be known while tracing: constraints on stacks, one mesh axis at a time."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.shard_alike import shard_alike
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info
from optax_muon.matrices._layout import axes_of_type
from optax_muon.matrices._leaf import Leaf, as_matrices, restore
from optax_muon.matrices._loop import Op, after
from optax_muon.matrices._placement import Done, OnTheSpot, Work
from optax_muon.matrices._plan import Stack, runs
from optax_muon.matrices._schedule import Options

FREE = PartitionSpec.UNCONSTRAINED


def run_constrained(op: Op, works: Sequence[Work], mesh: Any, options: Options) -> list[Done]:
    """Map every array: like stacks are joined, dealt out over the mesh by constraints, computed, and brought back.

    XLA turns a constraint that moves one mesh axis from a matrix axis to the stack axis into one all-to-all; one that
    moves two gathers everything ("involuntary full rematerialization"). The minor axis goes first, so that an array
    axis split over both falls apart in the same order. The stack axis is said to be whole before the first hop and
    after the last, every way back is tied to its way out, and every result to its input: otherwise the partitioner
    chooses layouts of its own for them, and replicated arrays in particular travel many times.
    """
    auto = axes_of_type(mesh, AxisType.Auto)
    axes = [a for a in auto if a not in options.slow_axes and (options.axes is None or a in options.axes)]
    if not axes:
        return OnTheSpot().run(op, works)
    devices = math.prod(mesh.shape[a] for a in axes)
    cuts = [as_matrices(work.array, work.leaf) for work in works]
    owners = [(w, i) for w, cut in enumerate(cuts) for i in range(len(cut))]
    sizes = [Stack((x.shape[0], x.shape[1], x.shape[2]), x.dtype) for cut in cuts for x in cut]
    results: dict[tuple[int, int], tuple[Array, PyTree, Info]] = {}
    last = None
    # Not merged with their transposes: the two are cut along different axes, and joining them would move one twice.
    for run in runs(sizes, merge_transposes=False, max_bytes=options.max_bytes // 2 * devices):
        members = [owners[member.index] for member in run]
        stacks = [cuts[w][i] for w, i in members]
        done, last = _run_stack(op, stacks, [_beside(works[w], i) for w, i in members], mesh, axes, last)
        results.update(zip(members, done, strict=True))
    return [_collect(work, [results[w, i] for i in range(len(cuts[w]))]) for w, work in enumerate(works)]


def _run_stack(
    op: Op, stacks: Sequence[Array], beside: Sequence[PyTree], mesh: Any, axes: Sequence[str], last: Array | None
) -> tuple[list[tuple[Array, PyTree, Info]], Array]:
    devices, count = math.prod(mesh.shape[a] for a in axes), sum(x.shape[0] for x in stacks)
    dealt = PartitionSpec(tuple(reversed(axes)))

    def joined(xs: Sequence[Array]) -> Array:
        first = jnp.zeros_like(xs[0][:1]) if jnp.issubdtype(xs[0].dtype, jnp.inexact) else xs[0][:1]
        return jnp.concatenate([*xs, *[first] * (-count % devices)])

    def compute(x: Array, beside: PyTree, last: Array | None) -> tuple[Array, PyTree, Array]:
        carries, keys, others = beside
        x = after(x, last)
        done = OnTheSpot().run(op, [Work(x, Leaf("hidden", 1, 2), (carries,), keys, others)])[0]
        return done.array, (done.carries[0], done.infos[0]), done.array[:1, :1, 0]

    unstacked = NamedSharding(mesh, PartitionSpec(None, FREE, FREE))
    trail = [jax.lax.with_sharding_constraint(joined(stacks), unstacked)]
    hops = [_hop(mesh, axes[i:], whole=i == 0) for i in reversed(range(len(axes)))]
    for hop in hops:
        trail.append(jax.lax.with_sharding_constraint(trail[-1], hop))
    memory = jax.tree.map(lambda *xs: joined(xs), *beside)
    mapped = jax.shard_map(
        compute, mesh=mesh, in_specs=(dealt, dealt, dealt), out_specs=(dealt, dealt, dealt), axis_names=set(axes),
        check_vma=False,
    )  # fmt: skip
    y, learned, last = mapped(trail[-1], memory, last)
    for hop, there in zip(reversed(hops[:-1]), trail[-2:0:-1], strict=True):
        y, _ = shard_alike(jax.lax.with_sharding_constraint(y, hop), there)
    y = jax.lax.with_sharding_constraint(y, unstacked)
    parts, at = [], 0
    for x in stacks:
        stop = at + x.shape[0]
        parts.append((y[at:stop], *jax.tree.map(lambda a, i=at, j=stop: a[i:j], learned)))
        at = stop
    return parts, last


def _hop(mesh: Any, axes: Sequence[str], *, whole: bool) -> NamedSharding:
    """Stack axis over ``axes``, the last one major; the matrices whole, or as they come."""
    free = None if whole else FREE
    return NamedSharding(mesh, PartitionSpec(tuple(reversed(axes)), free, free))


def _beside(work: Work, index: int) -> PyTree:
    carries = work.carries[index] if work.carries else ()
    keys = None if work.keys is None else (work.keys[index],)
    return carries, keys, {name: as_matrices(x, work.leaf)[index] for name, x in work.others.items()}


def _collect(work: Work, results: Sequence[tuple[Array, PyTree, Info]]) -> Done:
    stacks, carries, infos = zip(*results, strict=True)
    array = restore(stacks, work.leaf, work.array.shape)
    return Done(shard_alike(array, work.array)[0], carries, infos)
