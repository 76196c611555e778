"""Values per matrix (state, keys, duals) of a parameter whose matrices are divided over a mesh."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon.matrices._shard_view import gathered
from optax_muon.placement._buckets import divide, join, take
from optax_muon.placement.exchange._planner import Run
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


def own_values(run: Run, values: Mapping[int, PyTree], grid: Mapping[str, int]) -> PyTree:
    """Take the values of this device's matrices, (repeat, ...), out of those of all, which every device has.

    Args:
        run: which matrices.
        values: item index -> pytree of arrays (count, ...).
        grid: length of every axis, in device order.
    """
    devices, me = math.prod(grid.values()), lax.axis_index(tuple(grid))
    places = run.repeat * devices

    def pick(*xs: Array) -> Array:
        """Join one value of all parts, and take this device's."""
        x = join([take(x, part.start, part.stop) for x, part in zip(xs, run.parts, strict=True)])
        # Idle devices repeat the first matrix's value; what they compute is thrown away.
        x = jnp.take(x, jnp.asarray([i if i < run.count else 0 for i in range(places)]), axis=0)
        return lax.dynamic_index_in_dim(x.reshape(run.repeat, devices, *x.shape[1:]), me, 1, keepdims=False)

    return jax.tree.map(pick, *(values[part.item.index] for part in run.parts))


def gather_values(run: Run, values: PyTree, grid: Mapping[str, int]) -> dict[int, list[PyTree]]:
    """Undo `own_values`: make values (repeat, ...) of this device's matrices known to all.

    Returns:
        Item index -> the values (count, ...) of its parts, in order.
    """

    def gather(x: Array) -> Array:
        """Collect one value from all devices, in the order of the matrices."""
        x = gathered(x, tuple(grid))
        return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])

    known = jax.tree.map(gather, values)
    found: dict[int, list[PyTree]] = {}
    for part, share in zip(run.parts, divide(known, [part.count for part in run.parts]), strict=True):
        found.setdefault(part.item.index, []).append(share)
    return found


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
