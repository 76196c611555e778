"""One matrix cut into blocks over devices, and put together again."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon.matrices._leaf import Leaf, Split, as_matrices, restore
from optax_muon.placement._sharding import Dims

Side = tuple[tuple[tuple[str, ...], int], ...]


class Block(NamedTuple):
    """How a matrix is cut: for each side, the axes and the local length of every array dimension that it flattens."""

    rows: Side
    cols: Side

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes that cut the matrix, in the order of its dimensions."""
        return tuple(name for names, _ in self.rows + self.cols for name in names)

    @property
    def local(self) -> tuple[int, int]:
        """Shape of one block."""
        return math.prod(length for _, length in self.rows), math.prod(length for _, length in self.cols)

    def whole(self, sizes: Mapping[str, int]) -> tuple[int, int]:
        """Shape of the matrix."""
        rows, cols = (math.prod(sizes[name] for names, _ in side for name in names) for side in (self.rows, self.cols))
        return rows * self.local[0], cols * self.local[1]


class Cut(NamedTuple):
    """Stacks of blocks of one parameter: what they are blocks of, and the split that is still inside each matrix."""

    leaf: Leaf
    blocks: tuple[Block, ...]
    split: Split | None


def plan_cut(shape: Sequence[int], leaf: Leaf, dims: Dims) -> Cut:
    """Say into which stacks of blocks a shard of local ``shape`` falls.

    A split along an uncut side is cut here, so that its pieces travel on their own; along a cut side the whole matrix
    travels, since pieces would begin inside a shard.
    """
    ndim = len(shape)
    rows, cols = (tuple((dims[axis % ndim], shape[axis]) for axis in side) for side in (leaf.reduction, leaf.output))
    if leaf.split is None:
        return Cut(leaf, (Block(rows, cols),), None)
    side = cols if leaf.split.side == "output" else rows
    if any(names for names, _ in side):
        return Cut(dataclasses.replace(leaf, split=None), (Block(rows, cols),), leaf.split)
    sizes = leaf.split.sizes[:1] if len(set(leaf.split.sizes)) == 1 else leaf.split.sizes
    pieces: list[Side] = [(((), size),) for size in sizes]
    blocks = [Block(rows, piece) if leaf.split.side == "output" else Block(piece, cols) for piece in pieces]
    return Cut(leaf, tuple(blocks), None)


def cut(x: Array, plan: Cut) -> tuple[Array, ...]:
    """Cut a shard into stacks (count, rows, cols) of blocks."""
    return as_matrices(x, plan.leaf)


def uncut(stacks: Sequence[Array], plan: Cut, shape: Sequence[int]) -> Array:
    """Undo `cut`."""
    return restore(stacks, plan.leaf, shape)


def assemble(z: Array, block: Block, grid: Mapping[str, int]) -> Array:
    """Put (k, devices, elements) together to matrices (k, m, n); ``grid``: length of every axis, in device order.

    Axes that do not cut the matrix hold consecutive pieces of each block's elements.
    """
    k, rest = z.shape[0], [name for name in grid if name not in block.axes]
    names = list(grid)
    z = z.reshape(k, *grid.values(), z.shape[-1])
    order = [1 + names.index(name) for name in (*block.axes, *rest)]
    z = jnp.transpose(z, (0, *order, z.ndim - 1))
    cells = [grid[name] for name in block.axes]
    z = z.reshape(k, *cells, -1)[..., : math.prod(block.local)]
    z = z.reshape(k, *cells, *(length for _, length in block.rows + block.cols))
    return jnp.transpose(z, (0, *_interleave(block))).reshape(k, *block.whole(grid))


def disassemble(y: Array, block: Block, grid: Mapping[str, int]) -> Array:
    """Cut matrices (k, m, n) into (k, devices, elements): for every device the whole block that it holds."""
    k, shape = y.shape[0], [n for names, length in block.rows + block.cols for n in (*(grid[a] for a in names), length)]
    order = _interleave(block)
    y = jnp.transpose(y.reshape(k, *shape), (0, *(1 + order.index(i) for i in range(1, len(order) + 1))))
    cells = [grid[name] for name in block.axes]
    rest = [name for name in grid if name not in block.axes]
    y = y.reshape(k, *cells, *[1] * len(rest), -1)
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
