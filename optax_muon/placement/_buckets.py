"""Stacks of like matrices: cut from parameters, joined in buckets that are computed together, and restored."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info
from optax_muon.matrices._leaf import as_matrices
from optax_muon.matrices._leaf import restore as restore_array
from optax_muon.matrices._shard_view import vary, varying_axes
from optax_muon.placement._placement import Done, Work

Tree = TypeVar("Tree", bound=PyTree)


class Stack(NamedTuple):
    """Like matrices and what the operation takes beside them; the first axis of every array counts the matrices.

    Attributes:
        matrices: shape (count, m, n).
        carry: the operation's state.
        keys: one random key per matrix, or None.
        others: further matrices of shape (count, m, n), by the name under which the operation takes them.
    """

    matrices: Array
    carry: PyTree
    keys: Any
    others: dict[str, Array]

    @property
    def transposed(self) -> "Stack":
        """The same with matrices (n, m)."""
        return self._replace(matrices=self.matrices.mT, others={name: x.mT for name, x in self.others.items()})


class Mapped(NamedTuple):
    """What an operation makes of a stack: matrices (count, m, n), its new state, and what it learned of each."""

    matrices: Array
    carry: PyTree = ()
    info: Info = Info()


class Size(NamedTuple):
    """Shape (count, m, n) and dtype of a stack: all that decides in which bucket it goes."""

    shape: tuple[int, int, int]
    dtype: Any

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Member(NamedTuple):
    """A stack in a bucket: its index in the given list, and whether it enters transposed."""

    index: int
    transposed: bool


def cut(work: Work) -> list[Stack]:
    """Cut a parameter into stacks of its matrices, with its carries, keys and further arrays."""
    stacks = as_matrices(work.array, work.leaf)
    others = {name: as_matrices(x, work.leaf) for name, x in work.others.items()}
    # Most operations have neither state nor keys; a stack then carries an empty tree.
    carries, keys = work.carries or ((),) * len(stacks), work.keys or (None,) * len(stacks)
    return [
        Stack(x, carries[i], keys[i], {name: given[i] for name, given in others.items()}) for i, x in enumerate(stacks)
    ]


def collect(work: Work, results: Sequence[Mapped]) -> Done:
    """Undo `cut`: put the results of a parameter's stacks together to an array of its shape."""
    matrices, carries, infos = zip(*results, strict=True)
    return Done(restore_array(matrices, work.leaf, work.array.shape), carries, infos)


def join(stacks: Sequence[Tree], axis: int = 0) -> Tree:
    """Join stacks, or any trees of arrays, along an axis; one alone is not copied."""
    return stacks[0] if len(stacks) == 1 else jax.tree.map(lambda *xs: jnp.concatenate(xs, axis), *stacks)


def join_in_place(stacks: Sequence[Array], shape: tuple[int, ...], places: Sequence[int] | None = None) -> Array:
    """Join stacks to one of a shape, at the given places of its first axis or one after another, zero elsewhere.

    Each is written where it belongs by the kernel that computes it; a TPU concatenates in kernels half as dear again,
    or in one more pass at the end.
    """
    full = all(x.shape[1:] == shape[1:] for x in stacks) and sum(x.shape[0] for x in stacks) == shape[0]
    whole = vary((lax.empty if full else jnp.zeros)(shape, stacks[0].dtype), varying_axes(stacks[0]))
    if places is None:
        places = list(itertools.accumulate((x.shape[0] for x in stacks), initial=0))[:-1]
    for x, place in zip(stacks, places, strict=True):
        whole = lax.dynamic_update_slice_in_dim(whole, x, place, 0)
    return whole


def take(stack: Tree, start: int, stop: int) -> Tree:
    """Matrices ``start`` to ``stop`` of a stack, or entries of any tree of arrays; all of them are not copied."""
    # XLA drops a slice of the whole, but tracing and compiling it is not free for thousands of parameters.
    return jax.tree.map(lambda x: x if stop - start == x.shape[0] else lax.slice_in_dim(x, start, stop), stack)


def divide(stack: Tree, counts: Sequence[int]) -> list[Tree]:
    """Undo `join`: consecutive parts of the given counts."""
    ends = list(itertools.accumulate(counts, initial=0))
    return [take(stack, start, stop) for start, stop in itertools.pairwise(ends)]


def total_bytes(stacks: Sequence[Size]) -> int:
    """Size of some stacks together."""
    return sum(stack.nbytes for stack in stacks)


def size_of(stack: Stack) -> Size:
    """Say what decides in which bucket a stack goes."""
    count, m, n = stack.matrices.shape
    return Size((count, m, n), stack.matrices.dtype)


def buckets(
    stacks: Sequence[Size], *, merge_transposes: bool, max_bytes: int | Callable[[Size], int]
) -> list[list[Member]]:
    """Group stacks of like matrices into buckets, each to be joined, computed and divided again.

    Members of a bucket have one matrix shape and dtype; with ``merge_transposes`` an (n, m) stack joins the (m, n)
    ones, wide side last. A bucket holds at most ``max_bytes`` (which may depend on the stack) unless a single stack is
    larger, which is then a bucket of its own and is never copied.

    Of the four matrices in `optax_muon.placement.exchange`, (8, 32), (8, 32), (32, 8) and (32, 8), it makes one bucket
    (4, 8, 32) with ``merge_transposes``, else two, (2, 8, 32) and (2, 32, 8).
    """
    order: dict[tuple[Any, ...], list[list[Member]]] = {}
    filled: dict[tuple[Any, ...], int] = {}
    for index, stack in enumerate(stacks):
        _, m, n = stack.shape
        transposed = merge_transposes and m > n
        key = (n, m, stack.dtype) if transposed else (m, n, stack.dtype)
        like = order.setdefault(key, [])
        limit = max_bytes(stack) if callable(max_bytes) else max_bytes
        # Only the last bucket of a shape is open, so that stacks are joined in the order of the parameters.
        if not like or filled[key] + stack.nbytes > limit:
            like.append([])
            filled[key] = 0
        like[-1].append(Member(index, transposed))
        filled[key] += stack.nbytes
    return [bucket for like in order.values() for bucket in like]


def join_limit(stacks: Sequence[Size], *, small: int = 256 << 20) -> Callable[[Size], int]:
    """Say how large the bucket of a stack may get, so that neither the peak memory nor the program grows without need.

    Small matrices (up to a sixteenth of ``small`` each) are joined up to ``small`` bytes. Larger ones gain nothing in
    speed from company; they are joined up to an eighth of all bytes, which bounds the number of loops in the program
    by eight and a few however deep the model is, and the copies by an eighth of it.
    """
    eighth = sum(stack.nbytes for stack in stacks) // 8
    return lambda stack: small if stack.nbytes <= stack.shape[0] * (small // 16) else eighth


def run_in_buckets(
    works: Sequence[Work],
    compute: Callable[[list[list[Member]], list[Stack], list[Size]], Mapping[int, Mapped]],
    *,
    merge_transposes: bool,
    max_bytes: int | None,
) -> list[Done]:
    """Cut parameters into stacks, group like ones, compute them, and put the results together again.

    Args:
        works: the parameters.
        compute: takes buckets, all stacks and their sizes, and gives the result of every stack by its index.
        merge_transposes: see `buckets`.
        max_bytes: of one bucket, or None for `join_limit`.
    """
    cuts = [cut(work) for work in works]
    stacks = [stack for mine in cuts for stack in mine]
    sizes = [size_of(stack) for stack in stacks]
    limit = join_limit(sizes) if max_bytes is None else max_bytes
    results = compute(buckets(sizes, merge_transposes=merge_transposes, max_bytes=limit), stacks, sizes)
    spans = itertools.pairwise(itertools.accumulate([len(mine) for mine in cuts], initial=0))
    return [collect(work, [results[i] for i in range(*span)]) for work, span in zip(works, spans, strict=True)]
