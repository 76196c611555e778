"""Like matrices on a TPU or GPU: large ones one at a time, small ones in batches, stacked in the dtype that is read."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from optax_muon.linalg import SpectralMap
from optax_muon.linalg._map_stack import map_in_place
from optax_muon.placement._buckets import Mapped, Member, Size, Stack, divide, join, run_in_buckets
from optax_muon.placement._placement import Done, Here, Work

# Shorter side from which a product of one matrix fills the machine: a v5e does one of 768 x 768 in 6,900 cycles and
# spends about 2,000 on every kernel beside its work.
FILLS = 768

# Small matrices fill it together, in batches of about so many bytes.
BATCH_BYTES = 64 << 20

# As many like matrices stand in the program one after another; more are looped over, so that it does not grow.
UNROLLED = 8


@dataclasses.dataclass(frozen=True)
class OnAccelerator(Here):
    """Compute maps the way that is fast on a TPU or GPU, which only their programs may hold.

    Args:
        max_bytes: see `Local`.
    """

    max_bytes: int | None = None

    def form(self, op: SpectralMap, dtype: Any) -> SpectralMap:
        """Give the map that a TPU or GPU runs."""
        return op.on_accelerator(dtype)

    def run(self, op: SpectralMap, works: Sequence[Work], *, temporary: bool = False) -> list[Done]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Map every array."""
        del temporary  # nothing is overwritten

        def compute(found: Sequence[Sequence[Member]], stacks: Sequence[Stack], sizes: Sequence[Size]):
            """Map all buckets."""
            # Like matrices in whichever bucket: of more than a few the program must not hold each by itself.
            alike: Counter[tuple[int, int]] = Counter()
            for bucket in found:
                alike[_kind(bucket, sizes)] += sum(sizes[member.index].shape[0] for member in bucket)
            results: dict[int, Mapped] = {}
            for bucket in found:
                members = [stacks[member.index].matrices for member in bucket]
                inner = op.on_accelerator(members[0].dtype)
                done = map_like(inner, members, alike[_kind(bucket, sizes)])
                results.update((member.index, Mapped(y)) for member, y in zip(bucket, done, strict=True))
            return results

        # Beside its transposes a matrix would be kept in another layout, which costs more than a loop of its own.
        return run_in_buckets(works, compute, merge_transposes=False, max_bytes=self.max_bytes)


def map_like(op: SpectralMap, stacks: Sequence[Array], alike: int) -> list[Array]:
    """Map stacks (count, m, n) of like matrices; the results have their shapes and dtypes.

    A stack of its own is nothing but traffic: where few large matrices are alike, each is read from its own array.
    Where more are, they are joined in the dtype to which the map rounds them anyway, and so are their results.

    Args:
        op: the map, as it runs on an accelerator.
        stacks: of one dtype.
        alike: how many matrices of this shape the update has, those of other calls included.
    """
    if any(0 in x.shape for x in stacks):
        return [op.apply(x) for x in stacks]
    large = min(stacks[0].shape[1:]) >= FILLS
    if large and alike <= UNROLLED:
        return [_one_by_one(op, x) for x in stacks]
    if large and len(stacks) == 1:
        return [lax.map(op.apply, stacks[0])]
    dtype, narrow = stacks[0].dtype, op.reads(stacks[0].dtype)
    # In the layout of its parts: for a tall matrix's transpose a compiler would turn every momentum instead.
    joined = lax.optimization_barrier(join([x.astype(narrow) for x in stacks]))
    # Written over what was read: a TPU would fill another buffer with zeros first.
    y = map_in_place(op, joined) if large else _in_batches(op, joined)
    return [x.astype(dtype) for x in divide(y, [x.shape[0] for x in stacks])]


def _one_by_one(op: SpectralMap, stack: Array) -> Array:
    """Map each matrix of a stack in a place of its own in the program."""
    results = [op.apply(lax.index_in_dim(stack, i, keepdims=False)) for i in range(stack.shape[0])]
    return results[0][None] if len(results) == 1 else jnp.stack(results)


def _in_batches(op: SpectralMap, stack: Array) -> Array:
    """Map a stack all at once, or in a loop over batches of about ``BATCH_BYTES`` and, where possible, of one size."""
    count, nbytes = stack.shape[0], math.prod(stack.shape[1:]) * stack.dtype.itemsize
    size = min(count, max(1, BATCH_BYTES // nbytes))
    size = next((d for d in range(size, size // 2, -1) if count % d == 0), size)
    return op.apply(stack) if size == count else lax.map(op.apply, stack, batch_size=size)


def _kind(bucket: Sequence[Member], sizes: Sequence[Size]) -> tuple[int, int]:
    """Sides of a bucket's matrices, the shorter first."""
    m, n = sorted(sizes[bucket[0].index].shape[1:])
    return m, n
