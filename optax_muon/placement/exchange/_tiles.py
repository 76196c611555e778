"""One matrix cut into tiles over devices, and put together again."""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon.matrices._leaf import Leaf, Split
from optax_muon.placement._sharding import Dims

Grid = Mapping[str, int]  # length of every axis whose devices share the work, in device order
Side = tuple[tuple[tuple[str, ...], int], ...]


@dataclasses.dataclass(frozen=True)
class Block:
    """How a matrix is cut into tiles.

    Attributes:
        rows: of every array dimension that its first side flattens, the mesh axes that shard it and its local length.
        cols: the same of the second side.

    A of the example in `optax_muon.placement.exchange` has rows ``((("fsdp",), 2),)`` and cols ``(((), 32),)``.
    """

    rows: Side
    cols: Side

    @functools.cached_property
    def axes(self) -> tuple[str, ...]:
        """Axes that cut the matrix, in the order of its dimensions."""
        return tuple(name for names, _ in self.rows + self.cols for name in names)

    @functools.cached_property
    def travels(self) -> bool:
        """Whether it is cut at all; else every device holds the whole matrix."""
        return bool(self.axes)

    @functools.cached_property
    def local(self) -> tuple[int, int]:
        """Shape of one tile."""
        return math.prod(length for _, length in self.rows), math.prod(length for _, length in self.cols)

    def replicas(self, grid: Mapping[str, int]) -> int:
        """How many devices of the grid hold the same tile."""
        return math.prod([length for name, length in grid.items() if name not in self.axes])

    def whole(self, sizes: Mapping[str, int]) -> tuple[int, int]:
        """Shape of the matrix."""
        rows, cols = (math.prod(sizes[name] for names, _ in side for name in names) for side in (self.rows, self.cols))
        return rows * self.local[0], cols * self.local[1]


class Kind(NamedTuple):
    """What decides how a matrix is packed and computed.

    Attributes:
        block: how it is cut over devices.
        shape: (m, n) as computed, wide side last where the operation allows turning.
        turned: whether it is computed transposed.
        split: the split still inside it.
        dtype: name of its dtype.
        wire: name of the dtype in which its tiles travel.
    """

    block: Block
    shape: tuple[int, int]
    turned: bool
    split: Split | None
    dtype: str
    wire: str

    @property
    def travels(self) -> bool:
        """Whether its matrices are sharded over devices, so that their tiles must travel."""
        return self.block.travels


class Cut(NamedTuple):
    """How a shard falls into stacks of tiles.

    Attributes:
        leaf: the axes by which the shard is cut into stacks of tiles (count, rows, cols).
        blocks: what each stack holds tiles of.
        split: the split that is still inside each matrix.
    """

    leaf: Leaf
    blocks: tuple[Block, ...]
    split: Split | None

    @property
    def travels(self) -> bool:
        """Whether any of its matrices is sharded."""
        return any([block.travels for block in self.blocks])


@functools.lru_cache(maxsize=1024)
def team_block(kind: Kind, team: int) -> Block:
    """Give the tiles of one team member's share of a matrix: its long side is divided in equal parts, in any order."""
    if team == 1:
        return kind.block
    long = kind.block.rows if kind.turned else kind.block.cols
    length = math.prod(size for _, size in long)
    # The dimensions of the long side become one: a member's share may begin inside any of them.
    share = ((tuple(name for names, _ in long for name in names), -(-length // team)),)
    return dataclasses.replace(kind.block, **{"rows" if kind.turned else "cols": share})


def plan_cut(shape: Sequence[int], leaf: Leaf, dims: Dims) -> Cut:
    """Say into which stacks of tiles a shard of local ``shape`` falls.

    A split along a side that is not sharded is cut here, so that its pieces travel on their own; along a sharded side
    the whole matrix travels, since pieces would begin inside a shard.
    """
    ndim = len(shape)
    rows, cols = (tuple((dims[axis % ndim], shape[axis]) for axis in side) for side in (leaf.reduction, leaf.output))
    if leaf.split is None:
        return Cut(leaf, (Block(rows, cols),), None)
    side = cols if leaf.split.side == "output" else rows
    if any(names for names, _ in side):
        return Cut(dataclasses.replace(leaf, split=None), (Block(rows, cols),), leaf.split)
    # Pieces of one size are one stack, as `as_matrices` has it.
    sizes = leaf.split.sizes[:1] if len(set(leaf.split.sizes)) == 1 else leaf.split.sizes
    pieces: list[Side] = [(((), size),) for size in sizes]
    blocks = [Block(rows, piece) if leaf.split.side == "output" else Block(piece, cols) for piece in pieces]
    return Cut(leaf, tuple(blocks), None)


def fill_axis(x: Array, axis: int, length: int) -> Array:
    """Fill an axis up with zeros."""
    if x.shape[axis] == length:
        return x
    return jnp.pad(x, [(0, length - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])


def assemble(z: Array, block: Block, grid: Mapping[str, int]) -> Array:
    """Put tiles (k, devices, elements) together to matrices (k, m, n).

    Device 0 of the example in `optax_muon.placement.exchange` receives (1, 4, 64), the tiles (2, 32) of A from all
    four devices, and assembles them to (1, 8, 32): the tile of device ``d`` becomes the rows ``2 d`` and ``2 d + 1``.

    Args:
        z: for each matrix and device the elements of the tile that it sent, zeros behind them.
        block: how the matrices are cut.
        grid: length of every axis, in device order. Axes that do not cut the matrix hold consecutive pieces of each
            tile's elements.
    """
    k, rest = z.shape[0], [name for name in grid if name not in block.axes]
    names = list(grid)
    z = z.reshape(k, *grid.values(), z.shape[-1])
    # Devices stand in the order of the mesh, tiles in that of the matrix; pieces of one tile side by side behind them.
    order = [1 + names.index(name) for name in (*block.axes, *rest)]
    z = jnp.transpose(z, (0, *order, z.ndim - 1))
    cells = [grid[name] for name in block.axes]
    z = z.reshape(k, *cells, -1)[..., : math.prod(block.local)]
    z = z.reshape(k, *cells, *(length for _, length in block.rows + block.cols))
    return jnp.transpose(z, (0, *_interleave(block))).reshape(k, *block.whole(grid))


def disassemble(y: Array, block: Block, grid: Mapping[str, int]) -> Array:
    """Cut matrices (k, m, n) into (k, devices, elements): for every device the whole tile that it holds.

    It undoes `assemble`: device 0 of the example cuts its result (1, 8, 32) into (1, 4, 64), tile ``d`` for device
    ``d``. Where several devices hold one tile, `assemble` takes a piece from each and this gives all of it to each.
    """
    k, shape = y.shape[0], [n for names, length in block.rows + block.cols for n in (*(grid[a] for a in names), length)]
    order = _interleave(block)
    y = jnp.transpose(y.reshape(k, *shape), (0, *(1 + order.index(i) for i in range(1, len(order) + 1))))
    cells = [grid[name] for name in block.axes]
    rest = [name for name in grid if name not in block.axes]
    y = y.reshape(k, *cells, *[1] * len(rest), -1)
    # Every device that holds the tile gets all of it.
    y = jnp.broadcast_to(y, (k, *cells, *(grid[name] for name in rest), y.shape[-1]))
    held = [*block.axes, *rest]
    y = jnp.transpose(y, (0, *(1 + held.index(name) for name in grid), y.ndim - 1))
    return y.reshape(k, math.prod(grid.values()), -1)


def _interleave(block: Block) -> list[int]:
    """Order that takes (cells of all dimensions..., local lengths...) to every dimension's cells before its length."""
    sides, order, cell = block.rows + block.cols, [], 1
    for i, (names, _) in enumerate(sides):
        order += [*range(cell, cell + len(names)), 1 + len(block.axes) + i]
        cell += len(names)
    return order
