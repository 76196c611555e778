"""One exchange between devices: the tiles of matrices go to their owners, results come back."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from optax_muon.placement._buckets import divide, join, join_in_place, take
from optax_muon.placement.exchange._device_teams import from_team, to_team
from optax_muon.placement.exchange._native_tiles import (
    assemble_slabs,
    collectives,
    disassemble_slabs,
    from_slabs,
    slab_rows,
    to_slabs,
)
from optax_muon.placement.exchange._planner import Part, Run, exchange_elements
from optax_muon.placement.exchange._tiles import Grid, Kind, assemble, disassemble, fill_axis, team_block


def send(runs: Sequence[Run], stacks: Mapping[int, Array], grid: Grid, *, native: bool) -> list[Array]:
    """Bring the matrices of some runs to their owners: one (repeat, m, n) stack per run, a team member's share of n.

    All-to-alls over all axes of the grid move everything, one unless ``native``; see `collectives`. Where every device
    holds whole matrices nothing moves. Matrices have the dtype in which they travelled.

    Args:
        runs: the runs of one round.
        stacks: item index -> stack (count, rows, cols) of this device's tiles.
        grid: length of every axis, in device order.
        native: whether large blocks are to travel in an accelerator's own tiles.
    """
    if not runs[0].travels:
        # Every device has all matrices already, and takes those that it computes.
        me = lax.axis_index(tuple(grid))
        mine = [lax.dynamic_index_in_dim(_pack(run, stacks, grid), me, 1) for run in runs]
        return [_open(run, x, grid) for run, x in zip(runs, mine, strict=True)]
    arrived: dict[int, Array] = {}
    for some, width in collectives(runs, grid, native=native):
        packed = [_pack_slabs(runs[k], stacks, grid, width) if width else _pack(runs[k], stacks, grid) for k in some]
        arrived.update(zip(some, _exchanged(packed, grid), strict=True))
    return [_open(run, arrived[k], grid) for k, run in enumerate(runs)]


def send_back(runs: Sequence[Run], results: Sequence[Array], grid: Grid, *, native: bool) -> dict[int, list[Array]]:
    """Bring the results of some runs back to where their tiles were.

    The same all-to-alls again, or an all-gather where every device is to hold whole matrices.

    Args:
        runs: the runs of one round.
        results: one (repeat, m, n) stack per run, a team member's share of n.
        grid: length of every axis, in device order.
        native: as for `send`.

    Returns:
        Item index -> its tiles in order, in stacks (count, rows, cols), one for each of its parts.
    """
    # What is wider than the dtype in which it travels would be rounded after the journey anyway.
    results = [y.astype(run.wire) for run, y in zip(runs, results, strict=True)]

    def closed(k: int, width: int | None) -> Array:
        """Cut the matrices of one run into tiles."""
        if width:
            return _close_slabs(runs[k], results[k], grid, width)
        return _close(runs[k], results[k], grid, exchange_elements(runs[k].kinds, runs[k].team, grid)[1])

    arrived: dict[int, Array] = {}
    if not runs[0].travels:
        arrived.update(enumerate(_gather_tiles([closed(k, None)[:, 0] for k in range(len(runs))], grid)))
    else:
        for some, width in collectives(runs, grid, native=native):
            arrived.update(zip(some, _exchanged([closed(k, width) for k in some], grid), strict=True))
    tiles: dict[int, list[Array]] = {}
    for k, run in enumerate(runs):
        _unpack(run, arrived[k], tiles)
    return tiles


def _exchanged(packed: Sequence[Array], grid: Grid) -> list[Array]:
    """Send arrays (repeat, devices, ...), one entry to each device, in one all-to-all: its latency is paid once."""
    shapes = [jnp.swapaxes(x, 0, 1).shape for x in packed]
    # The repetitions of a run follow one another in the dimension in which runs of all sizes are joined.
    rows = [jnp.swapaxes(x, 0, 1).reshape(s[0], -1, *s[3:]) for x, s in zip(packed, shapes, strict=True)]
    there = lax.all_to_all(join(rows, axis=1), tuple(grid), 0, 0, tiled=True)
    spans = _spans(there, [x.shape[1] for x in rows])
    return [jnp.swapaxes(x.reshape(shape), 0, 1) for shape, x in zip(shapes, spans, strict=True)]


def _gather_tiles(closed: Sequence[Array], grid: Grid) -> list[Array]:
    """Give every device the tiles (repeat, elements) of all: (repeat, devices, elements)."""
    flat = lax.all_gather(join([x.reshape(-1) for x in closed]), tuple(grid)).reshape(math.prod(grid.values()), -1)
    found = _spans(flat, [x.size for x in closed])
    return [jnp.swapaxes(x.reshape(-1, *y.shape), 0, 1) for x, y in zip(found, closed, strict=True)]


def _pack(run: Run, stacks: Mapping[int, Array], grid: Grid) -> Array:
    """Order this device's tiles by the device that computes their matrix: (repeat, devices, elements).

    Members of a team follow one another.
    """
    out, back = exchange_elements(run.kinds, run.team, grid)
    # Every tile of a run is padded to the largest, since an all-to-all sends equal shares.
    width = out if run.travels else back
    packed = []
    for kind, parts in run.groups:
        x = to_team(_tiles_of(run, parts, stacks), kind, run.team)
        x = _own_piece(x, kind, grid) if run.travels else x
        packed.append(fill_axis(x, 2, width))
    devices = math.prod(grid.values())
    return fill_axis(join(packed), 0, run.repeat * devices // run.team).reshape(run.repeat, devices, width)


def _pack_slabs(run: Run, stacks: Mapping[int, Array], grid: Grid, width: int) -> Array:
    """Order the slabs of this device's tiles like `_pack`: (repeat, devices, rows of slabs, width)."""
    rows, devices = slab_rows(run, width), math.prod(grid.values())
    tiles = [to_slabs(_tiles_of(run, [part], stacks), width) for part in run.parts]
    # Single matrices are written where the exchange wants them, devices first; joined, all would be copied once more.
    single = all(part.count == 1 for part in run.parts)
    starts = list(itertools.accumulate((x.shape[0] for x in tiles), initial=0))[:-1]
    places = [at % devices * run.repeat + at // devices if single else at for at in starts]
    buffer = join_in_place(tiles, (run.repeat * devices, rows, width), places)
    packed = buffer.reshape(*((devices, run.repeat) if single else (run.repeat, devices)), rows, width)
    return jnp.swapaxes(packed, 0, 1) if single else packed


def _tiles_of(run: Run, parts: Sequence[Part], stacks: Mapping[int, Array]) -> Array:
    """Join this device's tiles (count, rows, cols) of some parts of a run, as they travel."""
    taken = [take(stacks[part.item.index], part.start, part.stop) for part in parts]
    return join([x.astype(run.wire) if run.travels else x for x in taken])


def _unpack(run: Run, x: Array, tiles: dict[int, list[Array]]) -> None:
    """Undo `_pack` or `_pack_slabs` for whole tiles (repeat, devices, ...), and add them to ``tiles`` by item, cast."""
    counts = [sum([part.count for part in parts]) for _, parts in run.groups]
    native = x.ndim == 4
    x = x.reshape(-1, *x.shape[2:]) if native else x.reshape(-1, run.team, x.shape[-1])
    for (kind, parts), mine in zip(run.groups, divide(x, counts), strict=True):
        whole = from_slabs(mine, *kind.block.local) if native else from_team(mine, kind, run.team)
        shares = divide(whole, [part.count for part in parts])
        for part, share in zip(parts, shares, strict=True):
            # Cast last: a compiler then does it where the tile is read, and nothing wide is written between.
            tiles.setdefault(part.item.index, []).append(share.astype(run.dtype))


def _own_piece(x: Array, kind: Kind, grid: Grid) -> Array:
    """Take this replica's piece of every tile (count, team, elements): the others send the rest."""
    count = kind.block.replicas(grid)
    if count == 1:
        return x
    # Devices along the other axes hold the same tile: each sends its share of it, and together they send it once.
    names = tuple(name for name in grid if name not in kind.block.axes)
    length = -(-x.shape[-1] // count)
    x = fill_axis(x, x.ndim - 1, count * length).reshape(*x.shape[:-1], count, length)
    return lax.dynamic_index_in_dim(x, lax.axis_index(names), x.ndim - 2, keepdims=False)


def _open(run: Run, z: Array, grid: Grid) -> Array:
    """Assemble tiles (repeat, devices, elements), or their slabs, to this device's matrices (repeat, m, share of n)."""
    shape, native = run_shape(run, grid), z.ndim == 4

    def of(kind: Kind) -> Callable[[Array], Array]:
        """Make the assembly of matrices of one kind."""
        block, cells = team_block(kind, run.team), _cells(run, grid)
        width = -(-math.prod(block.local) // block.replicas(cells))

        def build(z: Array) -> Array:
            if native:
                # A compiler would else scale the tiles before they are a matrix, and write them once more for that.
                y = lax.optimization_barrier(assemble_slabs(z, block, cells))
            else:
                y = assemble(z[..., :width], block, cells)
            y = y.mT if kind.turned else y
            return fill_axis(fill_axis(y, 1, shape[0]), 2, shape[1])

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
            return fill_axis(disassemble(y, block, cells), 2, width)

        return build

    return _by_owner(run, of, y, grid)


def _close_slabs(run: Run, y: Array, grid: Grid, width: int) -> Array:
    """Cut matrices (repeat, m, n) into the slabs of their tiles (repeat, devices, rows of slabs, width)."""
    rows = slab_rows(run, width)

    def of(kind: Kind) -> Callable[[Array], Array]:
        """Make the cutting of matrices of one kind."""
        m, n = kind.block.whole(grid)

        def build(y: Array) -> Array:
            y = y[:, :n, :m].mT if kind.turned else y[:, :m, :n]
            return fill_axis(disassemble_slabs(y, kind.block, grid, width), 2, rows)

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


def _spans(x: Array, lengths: Sequence[int]) -> list[Array]:
    """Cut the second axis into consecutive parts."""
    ends = itertools.accumulate(lengths, initial=0)
    return [lax.slice_in_dim(x, start, stop, axis=1) for start, stop in itertools.pairwise(ends)]
