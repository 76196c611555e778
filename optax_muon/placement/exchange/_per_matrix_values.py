"""Values per matrix (state, keys, duals) of a parameter whose matrices are divided over a mesh."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax import lax
from jaxtyping import PyTree

from optax_muon.matrices._shard_view import gathered
from optax_muon.placement.exchange._pieces import is_piece, own_part, put_together
from optax_muon.placement.exchange._schedule import Shard


def localize(values: PyTree, shard: Shard, sizes: Mapping[str, int]) -> PyTree:
    """Take the values of this device's matrices, (local count, ...), out of those of all, (count, ...).

    Only a parameter that is sharded over batch axes has fewer matrices on a device than there are. What is cut along
    these is here already; what is cut otherwise is put together.
    """
    if not shard.batch_axes:
        return values

    def take(x: Any) -> Any:
        """Slice one value along every sharded batch axis."""
        if _is_local(x, shard):
            return x.part
        x = put_together(x)
        x = x.reshape(*_whole_batch(shard, sizes), -1, *x.shape[1:])
        for i, axis in enumerate(shard.leaf.batch(len(shard.shape))):
            names, length = shard.dims[axis], shard.shape[axis]
            if names:
                # The same share that the mesh gives this device of the parameter itself.
                x = lax.dynamic_slice_in_dim(x, lax.axis_index(names) * length, length, i)
        return x.reshape(-1, *x.shape[len(_whole_batch(shard, sizes)) + 1 :])

    return jax.tree.map(take, values, is_leaf=is_piece)


def globalize(values: PyTree, given: PyTree, shard: Shard, sizes: Mapping[str, int]) -> PyTree:
    """Undo `localize`: (local count, ...) to (count, ...), the values of all matrices on every device.

    Where ``given``, a tree like ``values``, has a `Piece`, each device gets its own part instead.
    """
    batch = shard.leaf.batch(len(shard.shape))

    def settle(x: Any, given: Any) -> Any:
        """Give one value as it came in."""
        if not shard.batch_axes:
            return own_part(x, given)
        return x if _is_local(given, shard) else own_part(gather(x), given)

    def gather(x: Any) -> Any:
        """Collect one value along every sharded batch axis."""
        # What one matrix has (several pieces of a split) stays behind its batch axes, in one axis of its own.
        x = x.reshape(*(shard.shape[axis] for axis in batch), -1, *x.shape[1:])
        for i, axis in enumerate(batch):
            if shard.dims[axis]:
                x = gathered(x, shard.dims[axis], axis=i, tiled=True)
        return x.reshape(-1, *x.shape[len(batch) + 1 :])

    found, structure = jax.tree.flatten(values, is_leaf=is_piece)
    pairs = zip(found, jax.tree.leaves(given, is_leaf=is_piece), strict=True)
    return jax.tree.unflatten(structure, [settle(x, cut) for x, cut in pairs])


def _is_local(x: Any, shard: Shard) -> bool:
    """Tell whether a value is cut along the matrices as its parameter is."""
    first = shard.leaf.batch(len(shard.shape))[0] if shard.batch_axes else None
    # Along a second batch axis the matrices of a device do not follow one another.
    return (
        is_piece(x)
        and x.axis == -x.part.ndim
        and first is not None
        and x.names == shard.dims[first] == shard.batch_axes
    )


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
