"""Like matrices on a TPU or GPU: large ones one at a time, small ones in batches, stacked in the dtype that is read."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from optax_muon.linalg import SpectralMap
from optax_muon.linalg._map_stack import BATCH_BYTES
from optax_muon.placement._buckets import divide, join

# Shorter side from which a product of one matrix fills the machine: a v5e does one of 768 x 768 in 6,900 cycles and
# spends about 2,000 on every kernel beside its work.
FILLS = 768

# As many like matrices stand in the program one after another; more are looped over, so that it does not grow.
UNROLLED = 8


def map_like(op: SpectralMap, stacks: Sequence[Array], turns: Sequence[bool], alike: int) -> list[Array]:
    """Map stacks (count, m, n) of like matrices; the results have their shapes and dtypes.

    A stack of its own is nothing but traffic: where few large matrices are alike, each is read from its own array.
    Where more are, they are joined in the dtype to which the map rounds them anyway, and so are their results.

    Args:
        op: the map, as it runs on an accelerator.
        stacks: of one dtype; (count, n, m) where ``turns`` says so.
        turns: which are joined transposed.
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
    joined = join([(x.mT if turn else x).astype(narrow) for x, turn in zip(stacks, turns, strict=True)])
    y = lax.map(op.apply, joined) if large else _in_batches(op, joined)
    parts = divide(y, [x.shape[0] for x in stacks])
    return [(x.mT if turn else x).astype(dtype) for x, turn in zip(parts, turns, strict=True)]


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
