"""On the device where the arrays are: like matrices joined, and looped over or batched."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info, MatrixOp, SpectralMap
from optax_muon.matrices._leaf import as_matrices, restore
from optax_muon.placement._buckets import Member, Stack, join_limit, runs
from optax_muon.placement._loop import after, map_stack, pieces
from optax_muon.placement._placement import Done, Placement, Work

IN_FLIGHT_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Local(Placement):
    """Compute where the arrays lie: like matrices are joined and looped over or batched.

    A loop keeps the program small however deep the model is, and one matrix's temporaries alive at a time.

    Args:
        max_bytes: stacks are joined up to this size; 0 joins nothing. None: 256 MiB for matrices up to 16 MiB each, an
            eighth of all bytes for larger ones.
        temporary: the arrays are temporaries that may be overwritten; for other placements.
    """

    max_bytes: int | None = None
    temporary: bool = False

    def __post_init__(self):
        """Refuse a negative size."""
        if self.max_bytes is not None and self.max_bytes < 0:
            raise ValueError(f"Local: max_bytes must be >= 0, not {self.max_bytes}")

    def run(self, op: SpectralMap | MatrixOp, works: Sequence[Work]) -> list[Done]:
        """Map every array."""
        stacks = [as_matrices(work.array, work.leaf) for work in works]
        owners = [(w, i) for w, cut in enumerate(stacks) for i in range(len(cut))]
        flat = [stack for cut in stacks for stack in cut]
        beside = [_others(work, i) for work, cut in zip(works, stacks, strict=True) for i in range(len(cut))]
        sizes = [Stack((x.shape[0], x.shape[1], x.shape[2]), x.dtype) for x in flat]
        limit = join_limit(sizes) if self.max_bytes is None else self.max_bytes
        results: dict[tuple[int, int], tuple[Array, PyTree, Info]] = {}
        in_flight, last = 0, None
        for run in runs(sizes, merge_transposes=op.commutes_with_transpose, max_bytes=limit):
            members = [owners[member.index] for member in run]
            carries = [works[w].carries[i] if works[w].carries else () for w, i in members]
            keys = [given[i] for given, i in ((works[w].keys, i) for w, i in members) if given is not None]
            others = [beside[member.index] for member in run]
            inputs = [flat[member.index] for member in run]
            nbytes = sum(sizes[member.index].nbytes for member in run)
            in_flight += nbytes
            if in_flight > IN_FLIGHT_BYTES:
                inputs, in_flight = [after(x, last) for x in inputs], nbytes
            done = _run_together(op, inputs, run, carries, keys, others, self.temporary)
            results.update(zip(members, done, strict=True))
            last = done[-1][0]
        return [_collect(work, [results[w, i] for i in range(len(stacks[w]))]) for w, work in enumerate(works)]


def _others(work: Work, index: int) -> dict[str, Array]:
    """Matrices of the further arrays in stack ``index`` of a parameter."""
    return {name: as_matrices(x, work.leaf)[index] for name, x in work.others.items()}


def _run_together(
    op: SpectralMap | MatrixOp,
    stacks: Sequence[Array],
    run: Sequence[Member],
    carries: Sequence[PyTree],
    keys: list,
    others: Sequence[Mapping[str, Array]],
    temporary: bool,
) -> list[tuple[Array, PyTree, Info]]:
    # Turned only where both orientations meet: a map turns a tall matrix itself, one at a time.
    turn = [member.transposed and any(not other.transposed for other in run) for member in run]
    turned = [
        jax.tree.map(lambda a: a.mT, given) if turns else given
        for given, turns in zip(zip(stacks, others, strict=True), turn, strict=True)
    ]
    joined, beside = _join(turned)
    given_keys = _join(keys) if keys else None
    y, carry, info = map_stack(op, joined, _join(carries), given_keys, beside, reuse=temporary or len(stacks) > 1)
    cut = pieces(y, [x.shape[0] for x in stacks])
    parts, start = [], 0
    for part, turns in zip(cut, turn, strict=True):
        stop = start + part.shape[0]
        new_carry, new_info = jax.tree.map(lambda a, i=start, j=stop: a[i:j], (carry, info))
        parts.append((part.mT if turns else part, new_carry, new_info))
        start = stop
    return parts


def _join(trees: Sequence[PyTree]) -> PyTree:
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *xs: jnp.concatenate(xs), *trees)


def _collect(work: Work, results: Sequence[tuple[Array, PyTree, Info]]) -> Done:
    stacks, carries, infos = zip(*results, strict=True)
    return Done(restore(stacks, work.leaf, work.array.shape), carries, infos)
