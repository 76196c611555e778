"""Values of matrices of which every device has a piece: they are put together where their matrix is computed."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, PyTree

from optax_muon.matrices._shard_view import gathered
from optax_muon.placement._buckets import divide, join, take
from optax_muon.placement.exchange._planner import Run
from optax_muon.placement.exchange._tiles import Grid


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Piece:
    """This device's piece of an array (count, ...).

    Attributes:
        part: the piece.
        axis: along which it is cut, counted from the end, since axes are put in front of it on the way.
        names: the mesh axes over which it is cut, major first.
    """

    part: Array
    axis: int = dataclasses.field(metadata={"static": True})
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})


def is_piece(x: Any) -> bool:
    """Tell a piece from a whole array."""
    return isinstance(x, Piece)


def as_piece(x: Array, spec: PartitionSpec) -> Array | Piece:
    """Mark this device's part of an array that ``spec`` cuts; one that it does not cut is whole."""
    cut = [(axis - x.ndim, entry) for axis, entry in enumerate(spec) if entry]
    if not cut:
        return x
    ((axis, entry),) = cut
    return Piece(x, axis, (entry,) if isinstance(entry, str) else tuple(entry))


def put_together(values: PyTree) -> PyTree:
    """Make every array whole on every device."""

    def whole(x: Any) -> Any:
        """Collect the pieces of one array."""
        return lax.all_gather(x.part, x.names, axis=x.part.ndim + x.axis, tiled=True) if is_piece(x) else x

    return jax.tree.map(whole, values, is_leaf=is_piece)


def own_part(value: Any, given: Any) -> Array:
    """Give this device's part of a value that came in as ``given``, whether it comes out whole or as a piece."""
    if not is_piece(given):
        return value
    if is_piece(value):
        return value.part
    length = given.part.shape[given.axis]
    return lax.dynamic_slice_in_dim(value, lax.axis_index(given.names) * length, length, value.ndim + given.axis)


def own_values(run: Run, values: Mapping[int, PyTree], grid: Grid) -> PyTree:
    """Take the values of this device's matrices, (repeat, ...), out of those of all, which every device has.

    Args:
        run: which matrices.
        values: item index -> pytree of arrays (count, ...).
        grid: length of every axis, in device order.
    """
    devices, me = math.prod(grid.values()), lax.axis_index(tuple(grid))
    places = run.repeat * devices

    def pick(*xs: Any) -> Array:
        """Join one value of all parts, and take this device's."""
        parts = [x.part if is_piece(x) else x for x in xs]
        x = join([take(x, part.start, part.stop) for x, part in zip(parts, run.parts, strict=True)])
        # Idle devices repeat the first matrix's value; what they compute is thrown away.
        x = jnp.take(x, jnp.asarray([i if i < run.count else 0 for i in range(places)]), axis=0)
        x = x.reshape(run.repeat, devices, *x.shape[1:])
        if is_piece(xs[0]):
            return to_owner(x, xs[0], grid)
        return lax.dynamic_index_in_dim(x, me, 1, keepdims=False)

    return jax.tree.map(pick, *(values[part.item.index] for part in run.parts), is_leaf=is_piece)


def gather_values(run: Run, values: PyTree, grid: Grid, given: PyTree) -> dict[int, list[PyTree]]:
    """Undo `own_values`: make values (repeat, ...) of this device's matrices known to all, or give each its piece.

    Args:
        run: which matrices.
        values: this device's.
        grid: length of every axis, in device order.
        given: a tree like ``values``, in which a `Piece` stands for what is cut.

    Returns:
        Item index -> the values (count, ...) of its parts, in order.
    """

    def gather(x: Array, given: Any) -> Any:
        """Collect one value from all devices, in the order of the matrices."""
        if is_piece(given):
            return from_owner(x, given, grid)
        x = gathered(x, tuple(grid))
        return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])

    cuts = jax.tree.leaves(given, is_leaf=is_piece)
    arrays, structure = jax.tree.flatten(values)
    known = jax.tree.unflatten(structure, [gather(x, cut) for x, cut in zip(arrays, cuts, strict=True)])
    found: dict[int, list[PyTree]] = {}
    for part, share in zip(run.parts, divide(known, [part.count for part in run.parts]), strict=True):
        found.setdefault(part.item.index, []).append(share)
    return found


def to_owner(x: Array, cut: Piece, grid: Grid) -> Array:
    """Bring pieces (repeat, devices, ...) to the devices that compute their matrices: (repeat, ...), whole.

    Args:
        x: of every device's matrices, this device's pieces.
        cut: how they are cut.
        grid: length of every axis, in device order; it has the axes of ``cut``.
    """
    repeat, rest = x.shape[0], x.shape[2:]
    x = x.reshape(repeat, *grid.values(), *rest)
    # Devices along the other axes have the same pieces: each looks after the owners at its own place there.
    for i, name in reversed(list(enumerate(grid))):
        if name not in cut.names:
            x = lax.dynamic_index_in_dim(x, lax.axis_index(name), 1 + i, keepdims=False)
    kept = [name for name in grid if name in cut.names]
    order = [1 + kept.index(name) for name in cut.names]
    x = jnp.transpose(x, [0, *order, *range(1 + len(kept), x.ndim)]).reshape(repeat, -1, *rest)
    return lax.all_to_all(x, cut.names, 1, x.ndim + cut.axis, tiled=True)[:, 0]


def from_owner(y: Array, cut: Piece, grid: Grid) -> Piece:
    """Undo `to_owner`, for all matrices: (repeat, ...) of this device's to pieces (repeat * devices, ...)."""
    y = y[:, None]
    y = lax.all_to_all(y, cut.names, y.ndim + cut.axis, 1, tiled=True)
    others = tuple(name for name in grid if name not in cut.names)
    y = lax.all_gather(y, others, axis=1) if others else y[:, None]
    repeat, rest, order = y.shape[0], y.shape[3:], [*others, *cut.names]
    y = y.reshape(repeat, *(grid[name] for name in order), *rest)
    y = jnp.transpose(y, [0, *(1 + order.index(name) for name in grid), *range(1 + len(order), y.ndim)])
    return Piece(y.reshape(repeat * math.prod(grid.values()), *rest), cut.axis, cut.names)
