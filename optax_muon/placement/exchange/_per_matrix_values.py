"""Values per matrix (state, keys, duals) of a parameter whose matrices are divided over a mesh."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import lax
from jaxtyping import PyTree

from optax_muon.matrices._shard_view import gathered
from optax_muon.placement.exchange._schedule import Shard


def localize(values: PyTree, shard: Shard, sizes: Mapping[str, int]) -> PyTree:
    """Take the values of this device's matrices, (local count, ...), out of those of all, (count, ...).

    Only a parameter that is sharded over batch axes has fewer matrices on a device than there are.
    """
    if not shard.batch_axes:
        return values

    def take(x: Any) -> Any:
        """Slice one value along every sharded batch axis."""
        x = x.reshape(*_whole_batch(shard, sizes), -1, *x.shape[1:])
        for i, axis in enumerate(shard.leaf.batch(len(shard.shape))):
            names, length = shard.dims[axis], shard.shape[axis]
            if names:
                # The same share that the mesh gives this device of the parameter itself.
                x = lax.dynamic_slice_in_dim(x, lax.axis_index(names) * length, length, i)
        return x.reshape(-1, *x.shape[len(_whole_batch(shard, sizes)) + 1 :])

    return jax.tree.map(take, values)


def globalize(values: PyTree, shard: Shard, sizes: Mapping[str, int]) -> PyTree:
    """Undo `localize`: (local count, ...) to (count, ...), the values of all matrices on every device."""
    if not shard.batch_axes:
        return values
    batch = shard.leaf.batch(len(shard.shape))

    def gather(x: Any) -> Any:
        """Collect one value along every sharded batch axis."""
        # What one matrix has (several pieces of a split) stays behind its batch axes, in one axis of its own.
        x = x.reshape(*(shard.shape[axis] for axis in batch), -1, *x.shape[1:])
        for i, axis in enumerate(batch):
            if shard.dims[axis]:
                x = gathered(x, shard.dims[axis], axis=i, tiled=True)
        return x.reshape(-1, *x.shape[len(batch) + 1 :])

    return jax.tree.map(gather, values)


def by_matrix(values: PyTree, count: int) -> PyTree:
    """Reshape values (count * pieces, ...) to (count, pieces, ...), where each matrix is split in so many pieces."""
    return jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), values)


def by_piece(values: PyTree) -> PyTree:
    """Undo `by_matrix`: (count, pieces, ...) to (count * pieces, ...)."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), values)


def _whole_batch(shard: Shard, sizes: Mapping[str, int]) -> Sequence[int]:
    """Lengths of the parameter's batch axes over all devices."""
    axes = shard.leaf.batch(len(shard.shape))
    return [shard.shape[axis] * math.prod(sizes[name] for name in shard.dims[axis]) for axis in axes]
