"""A mesh whose shardings cannot be known while tracing: constraints on stacks, one mesh axis at a time."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info, SpectralMap
from optax_muon.matrices._leaf import Leaf, as_matrices, restore
from optax_muon.placement._buckets import Stack, runs
from optax_muon.placement._local import Local
from optax_muon.placement._loop import Op, after
from optax_muon.placement._placement import Done, Work
from optax_muon.placement._remainders import Part, Piece, share_leftovers
from optax_muon.placement._sharding import axes_of_type
from optax_muon.placement.exchange._schedule import Options

FREE = PartitionSpec.UNCONSTRAINED


class _Stack(NamedTuple):
    """Matrices and what the operation takes beside them: memory, keys, further arrays."""

    array: Array
    beside: PyTree

    def cut(self, piece: Piece) -> "_Stack":
        """Give some of the matrices."""
        _, start, stop = piece
        return self if stop - start == self.array.shape[0] else _Stack(*jax.tree.map(lambda x: x[start:stop], self))


_Result = tuple[Array, PyTree, Info]


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

    What is left over a multiple of the devices shares slots with other shapes, see `share_leftovers`.
    """
    auto = axes_of_type(mesh, AxisType.Auto)
    axes = [a for a in auto if a not in options.slow_axes and (options.axes is None or a in options.axes)]
    if not axes:
        return Local().run(op, works)
    devices = math.prod(mesh.shape[a] for a in axes)
    cuts = [as_matrices(work.array, work.leaf) for work in works]
    owners = [(w, i) for w, cut in enumerate(cuts) for i in range(len(cut))]
    stacked = [w for w, work in enumerate(works) if _is_stack(work, devices)]
    loose = [_Stack(cuts[w][i], _beside(works[w], i)) for w, i in owners if w not in stacked]
    last = None
    made: list[list[_Result]] = [[] for _ in loose]
    for deal in _deals(op, loose, devices, options):
        chosen = [[loose[piece.index].cut(piece) for piece in part.pieces] for part in deal]
        firsts = [part.first for part in deal]
        results, last = _run_deal(op, chosen, firsts, _one_by_one(mesh, axes), last)
        for part, outcomes in zip(deal, results, strict=True):
            for piece, outcome in zip(part.pieces, outcomes, strict=True):
                made[piece.index].append(outcome)
    done = dict(zip((owner for owner in owners if owner[0] not in stacked), map(_put_together, made), strict=True))
    for w in stacked:
        alone = [[_Stack(cuts[w][0], _beside(works[w], 0))]]
        [[done[w, 0]]], last = _run_deal(op, alone, [0], _direct(mesh, axes), last)
    return [_collect(work, [done[w, i] for i in range(len(cuts[w]))]) for w, work in enumerate(works)]


def _deals(op: Op, loose: Sequence[_Stack], devices: int, options: Options) -> list[list[Part]]:
    sizes = [Stack((x.shape[0], x.shape[1], x.shape[2]), x.dtype) for x, _ in loose]
    # Not merged with their transposes: the two are cut along different axes, and joining them would move one twice.
    joined = runs(sizes, merge_transposes=False, max_bytes=options.max_bytes // 2 * devices)
    if isinstance(op, SpectralMap) and op.commutes_with_padding and not any(beside[2] for _, beside in loose):
        return share_leftovers(joined, sizes, devices, turn=op.commutes_with_transpose)
    return [[Part(0, tuple(Piece(m.index, 0, sizes[m.index].shape[0]) for m in run))] for run in joined]


def _run_deal(
    op: Op, parts: Sequence[Sequence[_Stack]], firsts: Sequence[int], route: _Route, last: Array | None
) -> tuple[list[list[_Result]], Array]:
    """Deal parts out, compute the sum of what arrives in each slot, and bring every part's own slots back."""
    mesh, dealt = route.hops[-1].mesh, PartitionSpec(route.axes)
    devices = math.prod(mesh.shape[a] for a in route.axes)
    ends = [first + sum(x.shape[0] for x, _ in part) for first, part in zip(firsts, parts, strict=True)]
    slots = -(-max(ends) // devices) * devices

    def compute(xs: list[Array], beside: PyTree, last: Array | None) -> tuple[list[Array], PyTree, Array]:
        carries, keys, others = beside
        shapes = [x.shape[1:] for x in xs]
        x = after(_overlay(xs), last)
        done = Local().run(op, [Work(x, Leaf("hidden", 1, 2), (carries,), keys, others)])[0]
        learned = (done.carries[0], done.infos[0])
        return [_uncover(done.array, shape) for shape in shapes], learned, done.array[:1, :1, 0]

    trails = []
    for part, first in zip(parts, firsts, strict=True):
        trail = [_laid(_padded([x for x, _ in part], first, slots), route.ends)]
        for hop in route.hops:
            trail.append(jax.lax.with_sharding_constraint(trail[-1], hop))
        trails.append(trail)
    # Parts share slots only where the operation keeps nothing beside the matrices.
    memory = jax.tree.map(lambda *xs: _padded(xs, firsts[0], slots), *(beside for _, beside in parts[0]))
    mapped = jax.shard_map(
        compute, mesh=mesh, in_specs=(dealt, dealt, dealt), out_specs=(dealt, dealt, dealt), axis_names=set(route.axes),
        check_vma=False,
    )  # fmt: skip
    ys, learned, last = mapped([trail[-1] for trail in trails], memory, last)
    results = []
    for y, trail, part, first in zip(ys, trails, parts, firsts, strict=True):
        for hop, there in zip(reversed(route.hops[:-1]), trail[-2:0:-1], strict=True):
            y = _laid_like(jax.lax.with_sharding_constraint(y, hop), there)
        results.append(_cut_up(_laid(y, route.ends), learned, first, [x.shape[0] for x, _ in part]))
    return results, last


def _cut_up(y: Array, learned: PyTree, at: int, counts: Sequence[int]) -> list[_Result]:
    results = []
    for count in counts:
        stop = at + count
        results.append((y[at:stop], *jax.tree.map(lambda a, i=at, j=stop: a[i:j], learned)))
        at = stop
    return results


def _padded(xs: Sequence[Array], before: int, slots: int) -> Array:
    first = jnp.zeros_like(xs[0][:1]) if jnp.issubdtype(xs[0].dtype, jnp.inexact) else xs[0][:1]
    count = sum(x.shape[0] for x in xs)
    return jnp.concatenate([*[first] * before, *xs, *[first] * (slots - before - count)])


def _overlay(xs: Sequence[Array]) -> Array:
    """Add stacks of matrices of one short side, the wide way and padded to the longest, unless they are alike."""
    if len(xs) == 1:
        return xs[0]
    wide = len({x.shape[1] <= x.shape[2] for x in xs}) > 1
    turned = [x.mT if wide and x.shape[1] > x.shape[2] else x for x in xs]
    m, n = (max(x.shape[axis] for x in turned) for axis in (1, 2))
    padded = [jnp.pad(x, ((0, 0), (0, m - x.shape[1]), (0, n - x.shape[2]))) for x in turned]
    return functools.reduce(jnp.add, padded)


def _uncover(y: Array, shape: tuple[int, ...]) -> Array:
    """Undo the turning and the padding of `_overlay`."""
    turned = shape[0] > y.shape[1] or shape[1] > y.shape[2]
    y = y.mT if turned else y
    return y[:, : shape[0], : shape[1]]


def _is_stack(work: Work, devices: int) -> bool:
    count = math.prod(work.array.shape[axis] for axis in work.leaf.batch(work.array.ndim))
    return work.leaf.split is None and count > 1 and count % devices == 0


def _laid(x: Array, sharding: NamedSharding | None) -> Array:
    return x if sharding is None else jax.lax.with_sharding_constraint(x, sharding)


def _laid_like(x: Array, other: Array) -> Array:
    """Tie the sharding of ``x`` to that of another array, whose numbers do not matter: what is broken there is here.

    Operands of a sum lie alike, and the compiler may not drop zero times a number that could be NaN.
    """
    return x + 0 * other


def _beside(work: Work, index: int) -> PyTree:
    carries = work.carries[index] if work.carries else ()
    keys = None if work.keys is None else (work.keys[index],)
    return carries, keys, {name: as_matrices(x, work.leaf)[index] for name, x in work.others.items()}


def _put_together(pieces: Sequence[_Result]) -> _Result:
    return pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *xs: jnp.concatenate(xs), *pieces)


def _collect(work: Work, results: Sequence[tuple[Array, PyTree, Info]]) -> Done:
    stacks, carries, infos = zip(*results, strict=True)
    array = restore(stacks, work.leaf, work.array.shape)
    return Done(_laid_like(array, work.array), carries, infos)
