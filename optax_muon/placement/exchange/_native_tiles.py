"""Matrices that travel in an accelerator's own tiles: slabs of one width, whose rows are multiples of a register's.

A TPU keeps the last two dimensions of an array in tiles of 8 x 128 numbers of 4 bytes, or 16 x 128 of 2. A flat buffer
has no second dimension, and bringing a matrix into one and out of it moves every number for itself, which was seen to
cost more than the arithmetic. So all blocks of a round are cut along their columns into slabs (rows, width) of one
width, and slabs are stacked: every copy moves whole tiles, and one collective still carries all shapes.
"""

import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon.placement._buckets import join
from optax_muon.placement.exchange._planner import Run
from optax_muon.placement.exchange._tiles import Block, Kind

LANES = 128
# Slabs of one matrix, at most: each is a copy in the program.
MAX_SLABS = 16
# Less than this, sent by one device for all runs together, costs less than a second collective would.
MIN_BYTES = 1 << 20


def native_width(runs: Sequence[Run], grid: Mapping[str, int]) -> int | None:
    """Give the width of the slabs in which the runs of a round travel; None: they travel flat."""
    native = [run for run in runs if is_native(run, grid)]
    kinds = {kind for run in native for kind in run.kinds}
    # Flat ones beside them would need a collective of their own.
    if len(native) < len(runs):
        return None
    width = math.gcd(*(kind.block.local[1] for kind in kinds))
    nbytes = sum(
        run.repeat * _elements(run) * math.prod(grid.values()) * jnp.dtype(run.kinds[0].wire).itemsize for run in native
    )
    slabs = [kind.block.whole(grid)[1] // width for kind in kinds]
    return width if nbytes >= MIN_BYTES and max(slabs) <= MAX_SLABS else None


def is_native(run: Run, grid: Mapping[str, int]) -> bool:
    """Tell whether all tiles of a run are whole native tiles, each of which one device sends and one gets back."""
    return run.travels and run.team == 1 and all(_is_native(kind, grid) for kind in run.kinds)


def slab_rows(run: Run, width: int) -> int:
    """Rows of the slabs of one matrix's tile, stacked; a run's tiles are all padded to the largest."""
    return _elements(run) // width


def to_slabs(x: Array, width: int) -> Array:
    """Cut tiles (..., rows, cols) into slabs, one below the other: (..., cols / width * rows, width)."""
    count = x.shape[-1] // width
    # Slices and no reshape: a compiler that divides the columns into two dimensions looks for another layout.
    return join([x[..., i * width : (i + 1) * width] for i in range(count)], axis=x.ndim - 2)


def from_slabs(x: Array, rows: int, cols: int) -> Array:
    """Undo `to_slabs`, whatever rows stand behind: (..., rows of slabs, width) to (..., rows, cols)."""
    count = cols // x.shape[-1]
    return join([x[..., i * rows : (i + 1) * rows, :] for i in range(count)], axis=x.ndim - 1)


def assemble_slabs(z: Array, block: Block, grid: Mapping[str, int]) -> Array:
    """Put slabs (k, devices, rows of slabs, width) together to matrices (k, m, n)."""
    (down, along), (rows, cols) = _cell_counts(block, grid), block.local
    names, k = list(grid), z.shape[0]
    z = z.reshape(k, *grid.values(), *z.shape[2:])
    # Devices stand in the order of the mesh, tiles in that of the matrix.
    z = jnp.transpose(z, (0, *(1 + names.index(name) for name in block.axes), z.ndim - 2, z.ndim - 1))
    z = z.reshape(k, down, along, *z.shape[-2:])
    count = cols // z.shape[-1]
    slabs = [z[:, :, j, i * rows : (i + 1) * rows] for j in range(along) for i in range(count)]
    return join([x.reshape(k, down * rows, -1) for x in slabs], axis=2)


def disassemble_slabs(y: Array, block: Block, grid: Mapping[str, int], width: int) -> Array:
    """Cut matrices (k, m, n) into the slabs of every device's tile: (k, devices, rows of slabs, width)."""
    (down, along), (rows, cols) = _cell_counts(block, grid), block.local
    k, count = y.shape[0], cols // width
    slabs = [y[..., i * width : (i + 1) * width].reshape(k, down, 1, rows, width) for i in range(along * count)]
    z = join([join(slabs[j * count : (j + 1) * count], axis=3) for j in range(along)], axis=2)
    z = z.reshape(k, *(grid[name] for name in block.axes), count * rows, width)
    z = jnp.transpose(z, (0, *(1 + block.axes.index(name) for name in grid), z.ndim - 2, z.ndim - 1))
    return z.reshape(k, -1, count * rows, width)


def _is_native(kind: Kind, grid: Mapping[str, int]) -> bool:
    """Tell it of one kind."""
    block, (rows, cols) = kind.block, kind.block.local
    sublanes = 32 // jnp.dtype(kind.wire).itemsize
    # The devices that cut a side cut its first dimension, so that a tile is a block of the matrix.
    blockwise = not any(names for side in (block.rows, block.cols) for names, _ in side[1:])
    return blockwise and block.replicas(grid) == 1 and rows % sublanes == 0 and cols % LANES == 0 and rows * cols > 0


def _cell_counts(block: Block, grid: Mapping[str, int]) -> tuple[int, int]:
    """Give the numbers of tiles below one another and beside one another."""
    down, along = (math.prod(grid[name] for names, _ in side for name in names) for side in (block.rows, block.cols))
    return down, along


def _elements(run: Run) -> int:
    """Elements of a run's largest tile."""
    return max(math.prod(kind.block.local) for kind in run.kinds)
