"""A mesh whose shardings cannot be known while tracing: constraints on stacks, one mesh axis at a time."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

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


class _Route(NamedTuple):
    """How a stack is dealt out: the axes over which it ends, major first; every hop; how it lies at both ends."""

    axes: tuple[str, ...]
    hops: list[NamedSharding]
    ends: NamedSharding | None


def _one_by_one(mesh: Any, axes: Sequence[str]) -> _Route:
    order = tuple(reversed(axes))
    free = [PartitionSpec(order[: i + 1], FREE, FREE) for i in range(len(order) - 1)]
    hops = [NamedSharding(mesh, spec) for spec in (*free, PartitionSpec(order, None, None))]
    return _Route(order, hops, NamedSharding(mesh, PartitionSpec(None, FREE, FREE)))


def _direct(mesh: Any, axes: Sequence[str]) -> _Route:
    return _Route(tuple(axes), [NamedSharding(mesh, PartitionSpec(tuple(axes), None, None))], None)


def run_constrained(op: Op, works: Sequence[Work], mesh: Any, options: Options) -> list[Done]:
    """Map every array: like stacks are joined, dealt out over the mesh by constraints, computed, and brought back.

    XLA turns a constraint that moves one mesh axis from a matrix axis to the stack axis into one all-to-all; one that
    moves two gathers everything ("involuntary full rematerialization"). The minor axis goes first, so that an array
    axis split over both falls apart in the same order. The stack axis is said to be whole before the first hop and
    after the last, every way back is tied to its way out, and every result to its input: otherwise the partitioner
    chooses layouts of its own for them, and replicated arrays in particular travel many times.

    A parameter that is a stack already, of a multiple of as many matrices as devices, is dealt out in one hop and in
    the order of the mesh: cut over its batch axis it does not travel at all.
    """
    auto = axes_of_type(mesh, AxisType.Auto)
    axes = [a for a in auto if a not in options.slow_axes and (options.axes is None or a in options.axes)]
    if not axes:
        return OnTheSpot().run(op, works)
    devices = math.prod(mesh.shape[a] for a in axes)
    cuts = [as_matrices(work.array, work.leaf) for work in works]
    owners = [(w, i) for w, cut in enumerate(cuts) for i in range(len(cut))]
    stacked = [w for w, work in enumerate(works) if _is_stack(work, devices)]
    sizes = [Stack((x.shape[0], x.shape[1], x.shape[2]), x.dtype) for cut in cuts for x in cut]
    loose = [k for k, (w, _) in enumerate(owners) if w not in stacked]
    results: dict[tuple[int, int], tuple[Array, PyTree, Info]] = {}
    last = None
    # Not merged with their transposes: the two are cut along different axes, and joining them would move one twice.
    limit = options.max_bytes // 2 * devices
    joined = runs([sizes[k] for k in loose], merge_transposes=False, max_bytes=limit)
    groups = [[owners[loose[member.index]] for member in run] for run in joined]
    for members in [*groups, *([(w, 0)] for w in stacked)]:
        stacks, beside = [cuts[w][i] for w, i in members], [_beside(works[w], i) for w, i in members]
        route = _direct(mesh, axes) if members[0][0] in stacked else _one_by_one(mesh, axes)
        done, last = _run_stack(op, stacks, beside, route, last)
        results.update(zip(members, done, strict=True))
    return [_collect(work, [results[w, i] for i in range(len(cuts[w]))]) for w, work in enumerate(works)]


def _run_stack(
    op: Op, stacks: Sequence[Array], beside: Sequence[PyTree], route: _Route, last: Array | None
) -> tuple[list[tuple[Array, PyTree, Info]], Array]:
    mesh, dealt = route.hops[-1].mesh, PartitionSpec(route.axes)
    devices, count = math.prod(mesh.shape[a] for a in route.axes), sum(x.shape[0] for x in stacks)

    def joined(xs: Sequence[Array]) -> Array:
        first = jnp.zeros_like(xs[0][:1]) if jnp.issubdtype(xs[0].dtype, jnp.inexact) else xs[0][:1]
        return jnp.concatenate([*xs, *[first] * (-count % devices)])

    def compute(x: Array, beside: PyTree, last: Array | None) -> tuple[Array, PyTree, Array]:
        carries, keys, others = beside
        x = after(x, last)
        done = OnTheSpot().run(op, [Work(x, Leaf("hidden", 1, 2), (carries,), keys, others)])[0]
        return done.array, (done.carries[0], done.infos[0]), done.array[:1, :1, 0]

    trail = [_laid(joined(stacks), route.ends)]
    for hop in route.hops:
        trail.append(jax.lax.with_sharding_constraint(trail[-1], hop))
    memory = jax.tree.map(lambda *xs: joined(xs), *beside)
    mapped = jax.shard_map(
        compute, mesh=mesh, in_specs=(dealt, dealt, dealt), out_specs=(dealt, dealt, dealt), axis_names=set(route.axes),
        check_vma=False,
    )  # fmt: skip
    y, learned, last = mapped(trail[-1], memory, last)
    for hop, there in zip(reversed(route.hops[:-1]), trail[-2:0:-1], strict=True):
        y, _ = shard_alike(jax.lax.with_sharding_constraint(y, hop), there)
    y = _laid(y, route.ends)
    parts, at = [], 0
    for x in stacks:
        stop = at + x.shape[0]
        parts.append((y[at:stop], *jax.tree.map(lambda a, i=at, j=stop: a[i:j], learned)))
        at = stop
    return parts, last


def _is_stack(work: Work, devices: int) -> bool:
    count = math.prod(work.array.shape[axis] for axis in work.leaf.batch(work.array.ndim))
    return work.leaf.split is None and count > 1 and count % devices == 0


def _laid(x: Array, sharding: NamedSharding | None) -> Array:
    return x if sharding is None else jax.lax.with_sharding_constraint(x, sharding)


def _beside(work: Work, index: int) -> PyTree:
    carries = work.carries[index] if work.carries else ()
    keys = None if work.keys is None else (work.keys[index],)
    return carries, keys, {name: as_matrices(x, work.leaf)[index] for name, x in work.others.items()}


def _collect(work: Work, results: Sequence[tuple[Array, PyTree, Info]]) -> Done:
    stacks, carries, infos = zip(*results, strict=True)
    array = restore(stacks, work.leaf, work.array.shape)
    return Done(shard_alike(array, work.array)[0], carries, infos)
