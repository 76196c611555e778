"""Which matrix is computed by which device, and in which run: the planner of a mesh."""

import bisect
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from optax_muon.matrices._leaf import Split
from optax_muon.placement.exchange._tiles import Block


class Kind(NamedTuple):
    """What decides how a matrix is packed and computed.

    Attributes:
        block: how it is cut over devices.
        shape: (m, n) as computed, wide side last where the operation allows turning.
        turned: whether it is computed transposed.
        split: the split still inside it.
        dtype: name of its dtype.
    """

    block: Block
    shape: tuple[int, int]
    turned: bool
    split: Split | None
    dtype: str


class Item(NamedTuple):
    """Matrices of one stack: its kind, their number, and the stack's place in the caller's list."""

    kind: Kind
    count: int
    index: int


class Part(NamedTuple):
    """Matrices ``start`` to ``stop`` of an item."""

    item: Item
    start: int
    stop: int


class Run(NamedTuple):
    """Matrices that the devices compute at the same time, ``repeat`` times over.

    Attributes:
        shape: (m, n) to which its matrices are padded.
        team: devices that share one matrix.
        repeat: matrices per team; more than one only for matrices of one kind.
        parts: the matrices; place ``i`` goes to team ``i % teams`` in repetition ``i // teams``.
    """

    shape: tuple[int, int]
    team: int
    repeat: int
    parts: tuple[Part, ...]

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Its different kinds, in order."""
        return tuple(dict.fromkeys(part.item.kind for part in self.parts))

    @property
    def count(self) -> int:
        """Number of matrices."""
        return sum(part.stop - part.start for part in self.parts)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What the planner minimises: FLOPs of the slowest device plus ``flops_per_byte`` times its bytes.

    Attributes:
        flops: FLOPs of one whole matrix (m, n).
        team_flops: FLOPs and bytes per device of a team of t on (m, n); None: no teams.
        flops_per_byte: how many FLOPs a device does in the time in which it sends one byte.
        pads: whether matrices of different shapes may share a run.
    """

    flops: Callable[[int, int], float]
    team_flops: Callable[[int, int, int], tuple[float, float]] | None
    flops_per_byte: float
    pads: bool

    def of(self, shape: tuple[int, int], kinds: Sequence[Kind], team: int, grid: Mapping[str, int]) -> float:
        """Cost of one run."""
        out, back = exchange_elements(kinds, team, grid)
        itemsize = _itemsize(kinds[0].dtype)
        flops, nbytes = (self.flops(*shape), 0.0) if team == 1 else self.team_flops(*shape, team)  # type: ignore
        return flops + self.flops_per_byte * (nbytes + (out + back) * math.prod(grid.values()) * itemsize)


def plan_runs(items: Sequence[Item], grid: Mapping[str, int], costs: Costs) -> tuple[list[Run], float]:
    """Cut the matrices into runs of at least cost; gives the runs and that cost.

    Sorted by shape, the next run takes as many matrices as it has teams, or stops where the shape changes; team sizes
    divide the number of devices. The cheapest sequence is found by dynamic programming.
    """
    items = sorted(items, key=lambda item: (item.kind.dtype, *(-x for x in item.kind.shape), str(item.kind)))
    devices = math.prod(grid.values())
    classes, starts, hard = _classes(items, costs.pads)
    teams = [t for t in range(1, devices + 1) if devices % t == 0] if costs.team_flops else [1]
    prices: dict[tuple[int, int, int], float] = {}
    best: dict[int, tuple[float, int, int]] = {0: (0.0, 0, 1)}
    for begin in range(starts[-1]):
        if begin not in best:
            continue
        first = bisect.bisect_right(starts, begin) - 1
        for team in teams:
            reach = begin + devices // team
            for end in {min(reach, starts[first + 1]), min(reach, hard[first])}:
                key = (first, bisect.bisect_left(starts, end), team)
                if key not in prices:
                    kinds = classes[key[0] : key[1]]
                    prices[key] = costs.of(_hull(kinds), kinds, team, grid)
                price = best[begin][0] + prices[key]
                if end not in best or price < best[end][0]:
                    best[end] = (price, begin, team)
    return _repeat(_backwards(items, best, starts[-1]), devices), best[starts[-1]][0]


def exchange_elements(kinds: Sequence[Kind], team: int, grid: Mapping[str, int]) -> tuple[int, int]:
    """Elements that one device sends to one other for a run, on the way out and back."""
    back = [math.prod(team_block(kind, team).local) for kind in kinds]
    if not kinds[0].block.axes:
        return 0, max(back)
    pieces = [-(-e // replicas(kind.block, grid)) for e, kind in zip(back, kinds, strict=True)]
    return max(pieces), max(back)


def replicas(block: Block, grid: Mapping[str, int]) -> int:
    """How many devices of the grid hold the same block."""
    return math.prod(length for name, length in grid.items() if name not in block.axes)


def team_block(kind: Kind, team: int) -> Block:
    """Block of one team member's share: its long side is dealt out in equal parts, in any order."""
    if team == 1:
        return kind.block
    long = kind.block.rows if kind.turned else kind.block.cols
    length = math.prod(size for _, size in long)
    share = ((tuple(name for names, _ in long for name in names), -(-length // team)),)
    return kind.block._replace(**{"rows" if kind.turned else "cols": share})


def _classes(items: Sequence[Item], pads: bool) -> tuple[list[Kind], list[int], list[int]]:
    """Different kinds in order, where each begins (and the end), and where those end that may share a run with it."""
    classes: list[Kind] = []
    starts: list[int] = [0]
    for item in items:
        if classes and classes[-1] == item.kind:
            starts[-1] += item.count
        else:
            classes.append(item.kind)
            starts.append(starts[-1] + item.count)
    hard = starts[1:]
    for i in range(len(classes) - 2, -1, -1):
        if _share(classes[i], classes[i + 1], pads):
            hard[i] = hard[i + 1]
    return classes, starts, hard


def _backwards(items: Sequence[Item], best: Mapping[int, tuple[float, int, int]], end: int) -> list[Run]:
    starts = [0]
    for item in items:
        starts.append(starts[-1] + item.count)
    runs = []
    while end:
        _, begin, team = best[end]
        parts = tuple(_between(items, starts, begin, end))
        runs.append(Run(_hull([part.item.kind for part in parts]), team, 1, parts))
        end = begin
    return runs[::-1]


def _share(a: Kind, b: Kind, pads: bool) -> bool:
    same = (a.dtype, a.split, bool(a.block.axes)) == (b.dtype, b.split, bool(b.block.axes))
    return same and (a.shape == b.shape or (pads and a.split is None))


def _between(items: Sequence[Item], starts: Sequence[int], begin: int, end: int) -> list[Part]:
    first, last = bisect.bisect_right(starts, begin) - 1, bisect.bisect_left(starts, end)
    spans = ((items[i], max(begin - starts[i], 0), min(end - starts[i], items[i].count)) for i in range(first, last))
    return [Part(item, start, stop) for item, start, stop in spans if stop > start]


def _hull(kinds: Sequence[Kind]) -> tuple[int, int]:
    return max(kind.shape[0] for kind in kinds), max(kind.shape[1] for kind in kinds)


def _repeat(runs: Sequence[Run], devices: int) -> list[Run]:
    """Join full consecutive runs of one kind."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        like = last is not None and (last.team, last.kinds) == (run.team, run.kinds) and len(run.kinds) == 1
        if last is not None and like and last.count == last.repeat * (devices // last.team):
            joined[-1] = last._replace(repeat=last.repeat + 1, parts=_merged(last.parts + run.parts))
        else:
            joined.append(run)
    return joined


def _merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    merged: list[Part] = []
    for part in parts:
        if merged and merged[-1].item == part.item and merged[-1].stop == part.start:
            merged[-1] = merged[-1]._replace(stop=part.stop)
        else:
            merged.append(part)
    return tuple(merged)


def _itemsize(dtype: str) -> int:

    return jnp.dtype(dtype).itemsize
