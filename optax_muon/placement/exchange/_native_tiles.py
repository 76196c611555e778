"""Matrices that travel in an accelerator's own tiles: slabs of one width, whose rows are multiples of a register's.

A TPU keeps the last two dimensions of an array in tiles of 8 x 128 numbers of 4 bytes, or 16 x 128 of 2. A flat buffer
has no second dimension, and bringing a matrix into one and out of it moves every number for itself, which was seen to
cost more than the arithmetic. So blocks that travel together are cut along their columns into slabs (rows, width) of
one width, and slabs are stacked: every copy moves whole tiles. Blocks of one shape that travel alone are one slab each.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon.placement._buckets import join
from optax_muon.placement.exchange._planner import Run
from optax_muon.placement.exchange._tiles import Block, Kind

LANES = 128
# Slabs of one matrix, at most: each is a copy in the program.
MAX_SLABS = 16
# Less than this, sent by one device, costs less to copy than a collective of its own would.
MIN_BYTES = 1 << 20


class Collective(NamedTuple):
    """Runs whose tiles travel in one collective.

    Attributes:
        runs: their indices in the round.
        width: of the slabs in which they travel; None: flat.
    """

    runs: tuple[int, ...]
    width: int | None


def collectives(runs: Sequence[Run], grid: Mapping[str, int], *, native: bool) -> list[Collective]:
    """Divide a round into collectives: one for each run of enough bytes in native tiles, and one for all the others.

    Runs apart are not copied to stand side by side, and where whole rows travel not even to make a matrix; each can be
    computed while the next one is on its way. A collective has a latency, which few bytes are not worth.

    Args:
        runs: of the round.
        grid: length of every axis, in device order.
        native: whether tiles mean anything where the program runs; else all runs travel flat.
    """
    fit = [k for k, run in enumerate(runs) if native and is_native(run, grid)]
    apart = [k for k in fit if _sent_bytes(runs[k], grid) >= MIN_BYTES and _slab_width([runs[k]], grid)]
    found = [Collective((k,), _slab_width([runs[k]], grid)) for k in apart]
    rest = tuple(k for k in range(len(runs)) if k not in apart)
    if rest:
        some = [runs[k] for k in rest]
        enough = set(rest) <= set(fit) and sum(_sent_bytes(run, grid) for run in some) >= MIN_BYTES
        found.append(Collective(rest, _slab_width(some, grid) if enough else None))
    return found


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


def _slab_width(runs: Sequence[Run], grid: Mapping[str, int]) -> int | None:
    """Give the width of the slabs in which some runs can travel together; None: there would be too many."""
    kinds = {kind for run in runs for kind in run.kinds}
    width = math.gcd(*(kind.block.local[1] for kind in kinds))
    return width if max(kind.block.whole(grid)[1] // width for kind in kinds) <= MAX_SLABS else None


def _sent_bytes(run: Run, grid: Mapping[str, int]) -> int:
    """Bytes that one device sends for a run."""
    return run.repeat * _elements(run) * math.prod(grid.values()) * jnp.dtype(run.wire).itemsize


def _elements(run: Run) -> int:
    """Elements of a run's largest tile."""
    return max(math.prod(kind.block.local) for kind in run.kinds)
