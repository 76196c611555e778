"""A mesh whose shardings cannot be known while tracing: constraints on stacks, one mesh axis at a time."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from optax_muon.linalg import SpectralMap
from optax_muon.linalg._map_stack import Op, after
from optax_muon.linalg._op_arrays import arrays_of, with_arrays
from optax_muon.matrices._leaf import Leaf
from optax_muon.placement._buckets import Mapped, Stack, buckets, collect, cut, join, join_in_place, size_of, take
from optax_muon.placement._by_form import run_by_form
from optax_muon.placement._local import Local
from optax_muon.placement._placement import Done, Here, Work
from optax_muon.placement._remainders import Placed, Span, share_remainders, superpose, uncover
from optax_muon.placement._sharding import axes_of_type
from optax_muon.placement.exchange._schedule import Options
from optax_muon.placement.exchange._wire_dtype import wire_dtype

FREE = PartitionSpec.UNCONSTRAINED


class _Route(NamedTuple):
    """How a stack is distributed over the devices.

    Attributes:
        axes: the mesh axes over which its first axis ends up, major first.
        hops: the sharding after every step there.
        ends: the sharding before the first step and after the last one back; None: left to the partitioner.
    """

    axes: tuple[str, ...]
    hops: list[NamedSharding]
    ends: NamedSharding | None

    @property
    def devices(self) -> int:
        """How many share the stack."""
        return math.prod(self.hops[-1].mesh.shape[a] for a in self.axes)


def run_constrained(op: Op, works: Sequence[Work], mesh: Any, options: Options) -> list[Done]:
    """Map every array: like stacks are joined, distributed over the mesh by constraints, computed, and taken back.

    XLA turns a constraint that moves one mesh axis from a matrix axis to the stack axis into one all-to-all; one that
    moves two gathers everything ("involuntary full rematerialization"). The minor axis goes first, so that an array
    axis split over both falls apart in the same order. The stack axis is said to be whole before the first hop and
    after the last, every way back is tied to its way out, and every result to its input: otherwise the partitioner
    chooses layouts of its own for them, and replicated arrays in particular travel many times.

    A parameter that is a stack already, of a multiple of as many matrices as devices, is distributed in one hop and in
    the order of the mesh: sharded over its batch axis it does not travel at all.

    What is left over a multiple of the devices shares places with other shapes, see `share_remainders`.
    """
    auto = axes_of_type(mesh, AxisType.Auto)
    # Constraints speak of Auto axes alone: Explicit and Manual ones are part of the arrays' types.
    axes = [a for a in auto if a not in options.slow_axes and (options.axes is None or a in options.axes)]
    if not axes:
        return Local().run(op, works)
    return run_by_form(op, works, lambda works, here: _run_over(op, works, _Over(mesh, axes, options, here)))


class _Over(NamedTuple):
    """Which axes of which mesh share the work, and how a device computes its part."""

    mesh: Any
    axes: Sequence[str]
    options: Options
    here: Here


def _run_over(op: Op, works: Sequence[Work], over: _Over) -> list[Done]:
    """Map every array."""
    mesh, axes = over.mesh, over.axes
    devices = math.prod(mesh.shape[a] for a in axes)
    cuts = [cut(work) for work in works]
    # Each on its own: its batch axis may be sharded already, and joined with others it would have to travel.
    whole = [w for w, work in enumerate(works) if _is_stack(work, devices)]
    owners = [(w, i) for w, stacks in enumerate(cuts) if w not in whole for i in range(len(stacks))]
    loose = [cuts[w][i] for w, i in owners]
    made: list[list[Mapped]] = [[] for _ in loose]
    last = None
    for run in _runs(op, loose, devices, over.options):
        stacks = [[take(loose[span.index], span.start, span.stop) for span in placed.spans] for placed in run]
        firsts = [placed.first for placed in run]
        results, last = _compute_run(op, over, stacks, firsts, _one_by_one(mesh, axes), last)
        for placed, outcomes in zip(run, results, strict=True):
            for span, outcome in zip(placed.spans, outcomes, strict=True):
                made[span.index].append(outcome)
    done = dict(zip(owners, map(join, made), strict=True))
    for w in whole:
        [[done[w, 0]]], last = _compute_run(op, over, [cuts[w]], [0], _direct(mesh, axes), last)
    results = [collect(work, [done[w, i] for i in range(len(cuts[w]))]) for w, work in enumerate(works)]
    return [
        # A step returns state as it was laid, too; an operation may have had none yet.
        x._replace(
            array=_laid_like(x.array, work.array),
            carries=_laid_like(x.carries, work.carries) if jax.tree.leaves(work.carries) else x.carries,
        )
        for x, work in zip(results, works, strict=True)
    ]


def _runs(op: Op, loose: Sequence[Stack], devices: int, options: Options) -> list[list[Placed]]:
    """Plan the runs: the matrices of every bucket at consecutive places, remainders together where that may be."""
    sizes = [size_of(stack) for stack in loose]
    # Not merged with their transposes: the two are sharded along different axes, and joining them would move one twice.
    # Half of ``max_bytes`` each way, on every device.
    joined = buckets(sizes, merge_transposes=False, max_bytes=options.max_bytes // 2 * devices)
    if isinstance(op, SpectralMap) and op.commutes_with_padding and not any(stack.others for stack in loose):
        return share_remainders(joined, sizes, devices, turn=op.commutes_with_transpose)
    return [[Placed(0, tuple(Span(m.index, 0, sizes[m.index].shape[0]) for m in bucket))] for bucket in joined]


def _one_by_one(mesh: Any, axes: Sequence[str]) -> _Route:
    """Move one mesh axis after another from the matrices (count, m, n) to their count, the minor one first."""
    order = tuple(reversed(axes))
    free = [PartitionSpec(order[: i + 1], FREE, FREE) for i in range(len(order) - 1)]
    hops = [NamedSharding(mesh, spec) for spec in (*free, PartitionSpec(order, None, None))]
    return _Route(order, hops, NamedSharding(mesh, PartitionSpec(None, FREE, FREE)))


def _direct(mesh: Any, axes: Sequence[str]) -> _Route:
    """Shard the count of (count, m, n) over all axes in one step."""
    return _Route(tuple(axes), [NamedSharding(mesh, PartitionSpec(tuple(axes), None, None))], None)


def _compute_run(
    op: Op, over: _Over, shapes: Sequence[Sequence[Stack]], firsts: Sequence[int], route: _Route, last: Array | None
) -> tuple[list[list[Mapped]], Array]:
    """Distribute the stacks of every shape, compute the sum of what arrives at each place, and take the results back.

    Args:
        op: the operation.
        over: who shares the work.
        shapes: for each shape its stacks, (count, m, n) each.
        firsts: the place at which each shape begins.
        route: how they are distributed.
        last: a number of the run before, for which this one waits; None: it need not.

    Returns:
        The results, for each shape and stack, and a number of this run.
    """
    distributed, dtype = PartitionSpec(route.axes), shapes[0][0].matrices.dtype
    form = over.here.form(op, dtype) if isinstance(op, SpectralMap) else op
    wire = wire_dtype(form, dtype, over.options.exchange_dtype)
    counts = [[stack.matrices.shape[0] for stack in stacks] for stacks in shapes]
    ends = [first + sum(count) for first, count in zip(firsts, counts, strict=True)]
    # `jax.shard_map` divides evenly: the last places are padding.
    places = -(-max(ends) // route.devices) * route.devices

    def compute(numbers: PyTree, xs: list[Array], beside: PyTree, last: Array | None) -> tuple[list, PyTree, Array]:
        """Map one device's places, after the run before has ended."""
        carry, keys, others = beside
        x = after(jax.lax.optimization_barrier(superpose(xs)), last)
        work = Work(x, Leaf("hidden", 1, 2), (carry,), None if keys is None else (keys,), others)
        done = over.here.run(with_arrays(op, numbers), [work])[0]
        learned = (done.carries[0], done.infos[0])
        return [uncover(done.array, x.shape[1:]) for x in xs], learned, done.array[:1, :1, 0]

    trails = [
        _sent(_matrices([stack.matrices.astype(wire) for stack in stacks], first, places, over.here), route)
        for stacks, first in zip(shapes, firsts, strict=True)
    ]
    # Shapes share a run only where the operation takes nothing beside the matrices.
    beside = jax.tree.map(lambda *xs: _padded(xs, firsts[0], places), *(stack[1:] for stack in shapes[0]))
    carried = jax.tree.map(lambda x: _sent(x, route) if _is_factor(x) else [x], beside[0])
    # Maps make constants inside, which vary over no axis; without the check they need not be cast.
    mapped = jax.shard_map(
        compute, mesh=route.hops[-1].mesh, in_specs=(PartitionSpec(), distributed, distributed, distributed),
        out_specs=(distributed,) * 3, axis_names=set(route.axes), check_vma=False,
    )  # fmt: skip
    is_trail = lambda x: isinstance(x, list)  # noqa: E731
    given = jax.tree.map(lambda trail: trail[-1], carried, is_leaf=is_trail), *beside[1:]
    ys, (carry, info), last = mapped(arrays_of(op), [trail[-1] for trail in trails], given, last)
    carry = jax.tree.map(lambda trail, x: _returned(x, trail, route), carried, carry, is_leaf=is_trail)
    results = []
    for y, trail, first, count in zip(ys, trails, firsts, counts, strict=True):
        whole = Mapped(_returned(y, trail, route), carry, info)
        spans = itertools.pairwise(itertools.accumulate(count, initial=first))
        parts = [take(whole, *span) for span in spans]
        results.append([part._replace(matrices=part.matrices.astype(dtype)) for part in parts])
    return results, last


def _sent(x: Array, route: _Route) -> list[Array]:
    """Distribute a stack (places, m, n); gives it after every step."""
    trail = [_constrained(x, route.ends)]
    for hop in route.hops:
        trail.append(jax.lax.with_sharding_constraint(trail[-1], hop))
    return trail


def _returned(y: Array, trail: Sequence[Array], route: _Route) -> Array:
    """Take the results of a stack back by the way that it came; what never travelled stays where it is."""
    if len(trail) == 1:
        return y
    for hop, there in zip(reversed(route.hops[:-1]), trail[-2:0:-1], strict=True):
        y = _laid_like(jax.lax.with_sharding_constraint(y, hop), there)
    return _constrained(y, route.ends)


def _is_factor(x: Array) -> bool:
    """Tell Kronecker factors and bases, one matrix each, from the numbers and vectors of a matrix."""
    return x.ndim == 3 and jnp.issubdtype(x.dtype, jnp.inexact)


def _padded(xs: Sequence[Array], before: int, places: int) -> Array:
    """Join (count, ...) to (places, ...), from the place ``before``; the others hold zeros, or keys of no use."""
    # Maps take zeros to zeros. Keys and counters have no such value and repeat the first one's: nothing reads it.
    first = jnp.zeros_like(xs[0][:1]) if jnp.issubdtype(xs[0].dtype, jnp.inexact) else xs[0][:1]
    count = sum(x.shape[0] for x in xs)
    return jnp.concatenate([*[first] * before, *xs, *[first] * (places - before - count)])


def _matrices(xs: Sequence[Array], before: int, places: int, here: Here) -> Array:
    """Join matrices as `_padded` does, in the way that is cheap on the platform."""
    if not here.native_tiles:  # a CPU compiles a kernel for every place that is written to
        return _padded(xs, before, places)
    starts = list(itertools.accumulate((x.shape[0] for x in xs), initial=before))[:-1]
    return join_in_place(xs, (places, *xs[0].shape[1:]), starts)


def _is_stack(work: Work, devices: int) -> bool:
    """Tell whether a parameter holds a multiple of ``devices`` matrices, along its batch axes."""
    # A split may have several stacks, which are as loose as those of any parameter.
    count = math.prod(work.array.shape[axis] for axis in work.leaf.batch(work.array.ndim))
    return work.leaf.split is None and count > 1 and count % devices == 0


def _constrained(x: Array, sharding: NamedSharding | None) -> Array:
    """Constrain an array to a sharding; None leaves it alone."""
    return x if sharding is None else jax.lax.with_sharding_constraint(x, sharding)


def _laid_like(xs: PyTree, others: PyTree) -> PyTree:
    """Tie the shardings of a tree of arrays to those of another of its shape, whose numbers do not matter.

    The operands of a choice are sharded alike, and this one the compiler can make only after it knows the shardings.
    """
    always = jax.lax.optimization_barrier(jnp.ones([], bool))
    return jax.tree.map(lambda x, other: jnp.where(always, x, other), xs, others)
