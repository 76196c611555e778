"""Where and in which order the matrices of a tree are computed."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info, MatrixOp, SpectralMap
from optax_muon.matrices._leaf import Leaf, as_matrices, restore
from optax_muon.matrices._plan import Member, Stack, runs


class Work(NamedTuple):
    """One parameter-shaped array to be mapped.

    Attributes:
        array: the values.
        leaf: its axes.
        carries: the operation's memory, one pytree per stack of `as_matrices`; leading axis: matrices.
        keys: random keys, one array per stack, or None.
        others: further arrays of the parameter's shape, by the name under which the operation takes their matrices.
    """

    array: Array
    leaf: Leaf
    carries: tuple[PyTree, ...] = ()
    keys: tuple[Array, ...] | None = None
    others: Mapping[str, Array] = MappingProxyType({})


class Done(NamedTuple):
    """The mapped array, the new memory, and what the operation learned, per stack."""

    array: Array
    carries: tuple[PyTree, ...]
    infos: tuple[Info, ...]


class Placement(abc.ABC):
    """Carries out an operation on many parameters; the result does not depend on the choice."""

    @abc.abstractmethod
    def run(self, op: SpectralMap | MatrixOp, works: Sequence[Work]) -> list[Done]:
        """Map every array."""


@dataclasses.dataclass(frozen=True)
class OnTheSpot(Placement):
    """Compute where the arrays lie: like matrices are joined and looped over, one at a time.

    A loop keeps the program small however deep the model is, and one matrix's temporaries alive at a time.

    Args:
        max_bytes: stacks are joined up to this size; a copy of that size is alive while they run.
    """

    max_bytes: int = 64 << 20

    def run(self, op: SpectralMap | MatrixOp, works: Sequence[Work]) -> list[Done]:
        """Map every array."""
        stacks = [as_matrices(work.array, work.leaf) for work in works]
        owners = [(w, i) for w, cut in enumerate(stacks) for i in range(len(cut))]
        flat = [stack for cut in stacks for stack in cut]
        beside = [_others(work, i) for work, cut in zip(works, stacks, strict=True) for i in range(len(cut))]
        sizes = [Stack((x.shape[0], x.shape[1], x.shape[2]), x.dtype) for x in flat]
        results: dict[tuple[int, int], tuple[Array, PyTree, Info]] = {}
        for run in runs(sizes, merge_transposes=op.commutes_with_transpose, max_bytes=self.max_bytes):
            members = [owners[member.index] for member in run]
            carries = [works[w].carries[i] if works[w].carries else () for w, i in members]
            keys = [works[w].keys[i] for w, i in members if works[w].keys is not None]
            others = [beside[member.index] for member in run]
            done = _run_together(op, [flat[member.index] for member in run], run, carries, keys, others)
            results.update(zip(members, done, strict=True))
        return [_collect(work, [results[w, i] for i in range(len(stacks[w]))]) for w, work in enumerate(works)]


def map_stack(
    op: SpectralMap | MatrixOp,
    stack: Array,
    carry: PyTree = (),
    keys: Array | None = None,
    others: Mapping[str, Array] | None = None,
) -> tuple[Array, PyTree, Info]:
    """Apply an operation to a stack (count, m, n) by looping over its matrices; a stack of one is not looped."""

    def one(x: Array, carry: PyTree, key: Array | None, others: dict[str, Array]) -> tuple[Array, PyTree, Info]:
        if isinstance(op, SpectralMap):
            return op.apply(x), (), Info()
        return op.apply(x, carry, key=key, **others)

    given = (stack, carry, keys, dict(others or {}))
    if stack.shape[0] == 1:
        return jax.tree.map(lambda a: a[None], one(*jax.tree.map(lambda a: a[0], given)))
    return jax.lax.map(lambda args: one(*args), given)


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
) -> list[tuple[Array, PyTree, Info]]:
    turned = [
        jax.tree.map(lambda a: a.mT, given) if member.transposed else given
        for given, member in zip(zip(stacks, others, strict=True), run, strict=True)
    ]
    joined, beside = _join(turned)
    y, carry, info = map_stack(op, joined, _join(carries), _join(keys) if keys else None, beside)
    parts, start = [], 0
    for stack, member in zip(stacks, run, strict=True):
        stop = start + stack.shape[0]
        part, new_carry, new_info = jax.tree.map(lambda a, i=start, j=stop: a[i:j], (y, carry, info))
        parts.append((part.mT if member.transposed else part, new_carry, new_info))
        start = stop
    return parts


def _join(trees: Sequence[PyTree]) -> PyTree:
    return trees[0] if len(trees) == 1 else jax.tree.map(lambda *xs: jnp.concatenate(xs), *trees)


def _collect(work: Work, results: Sequence[tuple[Array, PyTree, Info]]) -> Done:
    stacks, carries, infos = zip(*results, strict=True)
    return Done(restore(stacks, work.leaf, work.array.shape), carries, infos)
