"""One exchange between devices: the tiles of matrices go to their owners, results come back."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon.matrices._shard_view import gathered
from optax_muon.placement._buckets import divide, join, take
from optax_muon.placement.exchange._planner import Run, exchange_elements
from optax_muon.placement.exchange._tiles import Kind, assemble, disassemble, team_block

Grid = Mapping[str, int]


def send(runs: Sequence[Run], stacks: Mapping[int, Array], grid: Grid) -> list[Array]:
    """Bring the matrices of some runs to their owners: one (repeat, m, n) stack per run, a team member's share of n.

    One all-to-all over all axes of the grid moves everything. Where every device holds whole matrices nothing moves.

    Args:
        runs: the runs of one round.
        stacks: item index -> stack (count, rows, cols) of this device's tiles.
        grid: length of every axis, in device order.
    """
    devices, me = math.prod(grid.values()), lax.axis_index(tuple(grid))
    packed = [_pack(run, stacks, grid) for run in runs]
    if not runs[0].travels:
        # Every device has all matrices already, and takes those that it computes.
        mine = [lax.dynamic_index_in_dim(x, me, 1) for x in packed]
        return [_open(run, x, grid) for run, x in zip(runs, mine, strict=True)]
    # One buffer for all runs, devices first: a round is one collective, whose latency is paid once.
    flat = join([jnp.swapaxes(x, 0, 1).reshape(devices, -1) for x in packed], axis=1)
    flat = lax.all_to_all(flat, tuple(grid), 0, 0, tiled=True)
    arrived = _parts(flat, [(run.repeat, x.shape[-1]) for run, x in zip(runs, packed, strict=True)])
    return [_open(run, jnp.swapaxes(x, 0, 1), grid) for run, x in zip(runs, arrived, strict=True)]


def send_back(runs: Sequence[Run], results: Sequence[Array], grid: Grid, dtype: Any) -> dict[int, list[Array]]:
    """Bring the results of some runs back to where their tiles were.

    One all-to-all again, or an all-gather where every device is to hold whole matrices.

    Args:
        runs: the runs of one round.
        results: one (repeat, m, n) stack per run, a team member's share of n.
        grid: length of every axis, in device order.
        dtype: in which they travel.

    Returns:
        Item index -> its tiles in order, in stacks (count, rows, cols), one for each of its parts.
    """
    devices = math.prod(grid.values())
    widths = [exchange_elements(run.kinds, run.team, grid)[1] for run in runs]
    if not runs[0].travels:
        closed = [_close(run, y, grid, e)[:, 0] for run, y, e in zip(runs, results, widths, strict=True)]
        flat = join([x.reshape(-1) for x in closed])
        # In the parameter's dtype: what is wider than that would be rounded after the journey anyway.
        flat = lax.all_gather(flat.astype(dtype), tuple(grid)).reshape(devices, -1)
    else:
        closed = [_close(run, y, grid, e) for run, y, e in zip(runs, results, widths, strict=True)]
        flat = join([jnp.swapaxes(x, 0, 1).reshape(devices, -1) for x in closed], axis=1)
        flat = lax.all_to_all(flat.astype(dtype), tuple(grid), 0, 0, tiled=True)
    arrived = _parts(flat, [(run.repeat, e) for run, e in zip(runs, widths, strict=True)])
    tiles: dict[int, list[Array]] = {}
    for run, x in zip(runs, arrived, strict=True):
        _unpack(run, jnp.swapaxes(x, 0, 1), tiles)
    return tiles


def own_values(run: Run, values: Mapping[int, PyTree], grid: Grid) -> PyTree:
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


def gather_values(run: Run, values: PyTree, grid: Grid) -> dict[int, list[PyTree]]:
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


def _pack(run: Run, stacks: Mapping[int, Array], grid: Grid) -> Array:
    """Order this device's tiles by the device that computes their matrix: (repeat, devices, elements).

    Members of a team follow one another.
    """
    out, back = exchange_elements(run.kinds, run.team, grid)
    # Every tile of a run is padded to the largest, since an all-to-all sends equal shares.
    width = out if run.travels else back
    packed = []
    for kind, parts in run.groups:
        x = _to_team(join([take(stacks[part.item.index], part.start, part.stop) for part in parts]), kind, run.team)
        x = _own_piece(x, kind, grid) if run.travels else x
        packed.append(_pad(x, 2, width))
    devices = math.prod(grid.values())
    return _pad(join(packed), 0, run.repeat * devices // run.team).reshape(run.repeat, devices, width)


def _unpack(run: Run, x: Array, tiles: dict[int, list[Array]]) -> None:
    """Undo `_pack` for whole tiles (repeat, devices, elements), and add them to ``tiles`` by item."""
    counts = [sum([part.count for part in parts]) for _, parts in run.groups]
    for (kind, parts), mine in zip(run.groups, divide(x.reshape(-1, run.team, x.shape[-1]), counts), strict=True):
        shares = divide(_from_team(mine, kind, run.team), [part.count for part in parts])
        for part, share in zip(parts, shares, strict=True):
            tiles.setdefault(part.item.index, []).append(share)


def _to_team(x: Array, kind: Kind, team: int) -> Array:
    """Divide the long side of tiles among a team: (count, rows, cols) to (count, team, elements)."""
    if team > 1:
        axis = 1 if kind.turned else 2
        share_length = -(-x.shape[axis] // team)
        x = _pad(x, axis, team * share_length)
        # A team may hold the long side in any order: the Gram matrix is a sum over it, and every column goes back to
        # where it came from. So the split needs no exchange within the tile.
        x = x.reshape(*x.shape[:axis], team, share_length, *x.shape[axis + 1 :])
        x = jnp.moveaxis(x, axis, 1)
    return x.reshape(x.shape[0], team, -1)


def _from_team(x: Array, kind: Kind, team: int) -> Array:
    """Undo `_to_team`: (count, team, elements) to (count, rows, cols)."""
    rows, cols = kind.block.local
    if team == 1:
        return x[:, 0, : rows * cols].reshape(-1, rows, cols)
    held = team_block(kind, team).local
    x = x[..., : math.prod(held)].reshape(-1, team, *held)
    if kind.turned:
        return x.reshape(-1, team * held[0], cols)[:, :rows]
    return jnp.swapaxes(x, 1, 2).reshape(-1, rows, team * held[1])[..., :cols]


def _own_piece(x: Array, kind: Kind, grid: Grid) -> Array:
    """Take this replica's piece of every tile (count, team, elements): the others send the rest."""
    count = kind.block.replicas(grid)
    if count == 1:
        return x
    # Devices along the other axes hold the same tile: each sends its share of it, and together they send it once.
    names = tuple(name for name in grid if name not in kind.block.axes)
    length = -(-x.shape[-1] // count)
    x = _pad(x, x.ndim - 1, count * length).reshape(*x.shape[:-1], count, length)
    return lax.dynamic_index_in_dim(x, lax.axis_index(names), x.ndim - 2, keepdims=False)


def _open(run: Run, z: Array, grid: Grid) -> Array:
    """Assemble tiles (repeat, devices, elements) to this device's matrices (repeat, m, share of n)."""
    shape = run_shape(run, grid)

    def of(kind: Kind) -> Callable[[Array], Array]:
        """Make the assembly of matrices of one kind."""
        block, cells = team_block(kind, run.team), _cells(run, grid)
        width = -(-math.prod(block.local) // block.replicas(cells))

        def build(z: Array) -> Array:
            y = assemble(z[..., :width], block, cells)
            y = y.mT if kind.turned else y
            return _pad(_pad(y, 1, shape[0]), 2, shape[1])

        return build

    return _by_owner(run, of, z, grid)


def _close(run: Run, y: Array, grid: Grid, width: int) -> Array:
    """Cut matrices (repeat, m, share of n) into tiles (repeat, devices, elements)."""

    def of(kind: Kind) -> Callable[[Array], Array]:
        """Make the cutting of matrices of one kind."""
        block, cells = team_block(kind, run.team), _cells(run, grid)
        m, n = block.whole(cells)

        def build(y: Array) -> Array:
            y = y[:, :n, :m].mT if kind.turned else y[:, :m, :n]  # (m, n) is the parameter's own orientation
            return _pad(disassemble(y, block, cells), 2, width)

        return build

    return _by_owner(run, of, y, grid)


def run_shape(run: Run, grid: Grid) -> tuple[int, int]:
    """Shape (m, share of n) that one device holds of a matrix of the run, padding included."""
    wholes = [team_block(kind, run.team).whole(_cells(run, grid)) for kind in run.kinds]
    sides = [whole[::-1] if kind.turned else whole for whole, kind in zip(wholes, run.kinds, strict=True)]
    return max(m for m, _ in sides), max(n for _, n in sides)


def _cells(run: Run, grid: Grid) -> Grid:
    """Give the grid over which the run's matrices are cut: none where every device holds whole ones."""
    return grid if run.travels else {}


def _by_owner(run: Run, of: Callable[[Kind], Callable[[Array], Array]], x: Array, grid: Grid) -> Array:
    """Apply to ``x``, this device's matrices, what their kind asks for; a run of one kind needs no choice."""
    kinds = list(run.kinds)
    if len(kinds) == 1:
        return of(kinds[0])(x)
    # Kinds differ in how tiles make a matrix, and a program is the same on every device: it chooses while it runs.
    owners = [kinds.index(part.item.kind) for part in run.parts for _ in range(part.start, part.stop)]
    # Idle devices do as the first kind does, on zeros.
    table = jnp.asarray([*owners, *[0] * (math.prod(grid.values()) // run.team - len(owners))])
    return lax.switch(table[lax.axis_index(tuple(grid)) // run.team], [of(kind) for kind in kinds], x)


def _pad(x: Array, axis: int, length: int) -> Array:
    """Fill an axis up with zeros."""
    if x.shape[axis] == length:
        return x
    return jnp.pad(x, [(0, length - x.shape[axis] if i == axis else 0) for i in range(x.ndim)])


def _parts(flat: Array, shapes: Sequence[tuple[int, int]]) -> list[Array]:
    """Cut (devices, elements) into one array (devices, *shape) for every shape."""
    ends = [0]
    for shape in shapes:
        ends.append(ends[-1] + math.prod(shape))
    return [flat[:, ends[i] : ends[i + 1]].reshape(-1, *shape) for i, shape in enumerate(shapes)]
