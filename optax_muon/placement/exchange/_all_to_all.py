"""One exchange between devices: blocks of matrices go to their owners, results come back."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon.placement.exchange._planner import Kind, Run, exchange_elements, replicas, team_block
from optax_muon.placement.exchange._tiles import assemble, disassemble

Grid = Mapping[str, int]


def send(runs: Sequence[Run], stacks: Mapping[int, Array], grid: Grid) -> list[Array]:
    """Bring the matrices of some runs to their owners: one (repeat, m, n) stack per run, a team member's share of n.

    One all-to-all over all axes of the grid moves everything. Where every device holds whole matrices nothing moves.

    Args:
        runs: the runs of one round.
        stacks: item index -> stack (count, rows, cols) of this device's blocks.
        grid: length of every axis, in device order.
    """
    devices, me = math.prod(grid.values()), lax.axis_index(tuple(grid))
    packed = [_pack(run, stacks, grid) for run in runs]
    if not runs[0].kinds[0].block.axes:
        mine = [lax.dynamic_index_in_dim(x, me, 1) for x in packed]
        return [_open(run, x, grid) for run, x in zip(runs, mine, strict=True)]
    flat = _join([jnp.swapaxes(x, 0, 1).reshape(devices, -1) for x in packed])
    flat = lax.all_to_all(flat, tuple(grid), 0, 0, tiled=True)
    arrived = _parts(flat, [(run.repeat, x.shape[-1]) for run, x in zip(runs, packed, strict=True)])
    return [_open(run, jnp.swapaxes(x, 0, 1), grid) for run, x in zip(runs, arrived, strict=True)]


def give_back(runs: Sequence[Run], results: Sequence[Array], grid: Grid, dtype: Any) -> dict[int, list[Array]]:
    """Bring results back: item index -> its blocks, in order, as pieces (count, rows, cols)."""
    devices = math.prod(grid.values())
    widths = [exchange_elements(run.kinds, run.team, grid)[1] for run in runs]
    if not runs[0].kinds[0].block.axes:
        closed = [_close(run, y, grid, e)[:, 0] for run, y, e in zip(runs, results, widths, strict=True)]
        flat = _join([x.reshape(-1) for x in closed], axis=0)
        flat = lax.all_gather(flat.astype(dtype), tuple(grid)).reshape(devices, -1)
    else:
        closed = [_close(run, y, grid, e) for run, y, e in zip(runs, results, widths, strict=True)]
        flat = _join([jnp.swapaxes(x, 0, 1).reshape(devices, -1) for x in closed])
        flat = lax.all_to_all(flat.astype(dtype), tuple(grid), 0, 0, tiled=True)
    arrived = _parts(flat, [(run.repeat, e) for run, e in zip(runs, widths, strict=True)])
    pieces: dict[int, list[Array]] = {}
    for run, x in zip(runs, arrived, strict=True):
        _unpack(run, jnp.swapaxes(x, 0, 1), pieces)
    return pieces


def choose(run: Run, values: Mapping[int, PyTree], grid: Grid) -> PyTree:
    """Pick this device's share of replicated values per matrix: item index -> pytree, leading axis: matrices."""
    devices, me = math.prod(grid.values()), lax.axis_index(tuple(grid))
    places = run.repeat * devices

    def pick(*xs: Array) -> Array:
        x = _join([x[part.start : part.stop] for x, part in zip(xs, run.parts, strict=True)], axis=0)
        # Empty places repeat the first matrix's value; what they compute is thrown away.
        x = jnp.take(x, jnp.asarray([i if i < run.count else 0 for i in range(places)]), axis=0)
        return lax.dynamic_index_in_dim(x.reshape(run.repeat, devices, *x.shape[1:]), me, 1, keepdims=False)

    return jax.tree.map(pick, *(values[part.item.index] for part in run.parts))


def share(run: Run, values: PyTree, grid: Grid) -> dict[int, list[PyTree]]:
    """Make values (repeat, ...) of this device's matrices known to all: item index -> its pieces, in order."""

    def gather(x: Array) -> Array:
        x = lax.all_gather(x, tuple(grid))
        return jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])

    known, pieces, at = jax.tree.map(gather, values), {}, 0
    for part in run.parts:
        stop = at + part.stop - part.start
        pieces.setdefault(part.item.index, []).append(jax.tree.map(lambda x, i=at, j=stop: x[i:j], known))
        at = stop
    return pieces


def _pack(run: Run, stacks: Mapping[int, Array], grid: Grid) -> Array:
    """Blocks by place: (repeat, devices, elements); members of a team follow one another."""
    out, back = exchange_elements(run.kinds, run.team, grid)
    width = out if run.kinds[0].block.axes else back
    parts = []
    for part in run.parts:
        x = _to_team(stacks[part.item.index][part.start : part.stop], part.item.kind, run.team)
        x = _own_piece(x, part.item.kind, grid) if part.item.kind.block.axes else x
        parts.append(_pad(x, 2, width))
    devices = math.prod(grid.values())
    return _pad(_join(parts, axis=0), 0, run.repeat * devices // run.team).reshape(run.repeat, devices, width)


def _unpack(run: Run, x: Array, pieces: dict[int, list[Array]]) -> None:
    """Undo `_pack` for whole blocks (repeat, devices, elements)."""
    x, at = x.reshape(-1, run.team, x.shape[-1]), 0
    for part in run.parts:
        kind, stop = part.item.kind, at + part.stop - part.start
        pieces.setdefault(part.item.index, []).append(_from_team(x[at:stop], kind, run.team))
        at = stop


def _to_team(x: Array, kind: Kind, team: int) -> Array:
    """Deal a block's long side out to a team: (count, rows, cols) to (count, team, elements)."""
    if team > 1:
        axis = 1 if kind.turned else 2
        share_length = -(-x.shape[axis] // team)
        x = _pad(x, axis, team * share_length)
        x = x.reshape(*x.shape[:axis], team, share_length, *x.shape[axis + 1 :])
        x = jnp.moveaxis(x, axis, 1)
    return x.reshape(x.shape[0], team, -1)


def _from_team(x: Array, kind: Kind, team: int) -> Array:
    rows, cols = kind.block.local
    if team == 1:
        return x[:, 0, : rows * cols].reshape(-1, rows, cols)
    held = team_block(kind, team).local
    x = x[..., : math.prod(held)].reshape(-1, team, *held)
    if kind.turned:
        return x.reshape(-1, team * held[0], cols)[:, :rows]
    return jnp.swapaxes(x, 1, 2).reshape(-1, rows, team * held[1])[..., :cols]


def _own_piece(x: Array, kind: Kind, grid: Grid) -> Array:
    """Take this replica's piece of every block: the others send the rest."""
    count = replicas(kind.block, grid)
    if count == 1:
        return x
    names = tuple(name for name in grid if name not in kind.block.axes)
    length = -(-x.shape[-1] // count)
    x = _pad(x, x.ndim - 1, count * length).reshape(*x.shape[:-1], count, length)
    return lax.dynamic_index_in_dim(x, lax.axis_index(names), x.ndim - 2, keepdims=False)


def _open(run: Run, z: Array, grid: Grid) -> Array:
    """Assemble (repeat, devices, elements) to this device's matrices (repeat, m, share of n)."""
    shape = run_shape(run, grid)

    def of(kind: Kind) -> Callable[[Array], Array]:
        block, cells = team_block(kind, run.team), _cells(run, grid)
        width = -(-math.prod(block.local) // replicas(block, cells))

        def build(z: Array) -> Array:
            y = assemble(z[..., :width], block, cells)
            y = y.mT if kind.turned else y
            return _pad(_pad(y, 1, shape[0]), 2, shape[1])

        return build

    return _by_owner(run, of, z, grid)


def _close(run: Run, y: Array, grid: Grid, width: int) -> Array:
    """Cut matrices (repeat, m, share of n) to blocks (repeat, devices, elements)."""

    def of(kind: Kind) -> Callable[[Array], Array]:
        block, cells = team_block(kind, run.team), _cells(run, grid)
        m, n = block.whole(cells)

        def build(y: Array) -> Array:
            y = y[:, :n, :m].mT if kind.turned else y[:, :m, :n]  # (m, n): as the parameter lies
            return _pad(disassemble(y, block, cells), 2, width)

        return build

    return _by_owner(run, of, y, grid)


def run_shape(run: Run, grid: Grid) -> tuple[int, int]:
    """Shape that one device holds of a matrix of the run."""
    wholes = [team_block(kind, run.team).whole(_cells(run, grid)) for kind in run.kinds]
    sides = [whole[::-1] if kind.turned else whole for whole, kind in zip(wholes, run.kinds, strict=True)]
    return max(m for m, _ in sides), max(n for _, n in sides)


def _cells(run: Run, grid: Grid) -> Grid:
    """The grid over which the run's matrices are cut: none where every device holds whole ones."""
    return grid if run.kinds[0].block.axes else {}


def _by_owner(run: Run, of: Callable[[Kind], Callable[[Array], Array]], x: Array, grid: Grid) -> Array:
    """Apply what the kind of this device's matrix asks for; a run of one kind needs no choice."""
    kinds = list(run.kinds)
    if len(kinds) == 1:
        return of(kinds[0])(x)
    owners = [kinds.index(part.item.kind) for part in run.parts for _ in range(part.start, part.stop)]
    table = jnp.asarray([*owners, *[0] * (math.prod(grid.values()) // run.team - len(owners))])
    return lax.switch(table[lax.axis_index(tuple(grid)) // run.team], [of(kind) for kind in kinds], x)


def _pad(x: Array, axis: int, length: int) -> Array:
    """Fill an axis up with zeros."""
    if x.shape[axis] == length:
        return x
    return jnp.pad(x, [(0, length - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])


def _join(xs: Sequence[Array], axis: int = 1) -> Array:
    return xs[0] if len(xs) == 1 else jnp.concatenate(xs, axis=axis)


def _parts(flat: Array, shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """Cut (devices, elements) into one (devices, *shape) for every shape."""
    ends = [0]
    for shape in shapes:
        ends.append(ends[-1] + math.prod(shape))
    return [flat[:, ends[i] : ends[i + 1]].reshape(-1, *shape) for i, shape in enumerate(shapes)]
