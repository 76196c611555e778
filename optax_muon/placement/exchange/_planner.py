"""Which matrix is computed by which device, and in which run: the planner of a mesh."""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp

from optax_muon.placement.exchange._tiles import Kind, team_block


class Item(NamedTuple):
    """Matrices of one stack: its kind, their number, and the stack's index in the caller's list."""

    kind: Kind
    count: int
    index: int


class Part(NamedTuple):
    """Matrices ``start`` to ``stop`` of an item."""

    item: Item
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of matrices."""
        return self.stop - self.start


class Run(NamedTuple):
    """Matrices that the devices compute at the same time, ``repeat`` times over.

    Attributes:
        shape: (m, n) to which its matrices are padded.
        team: devices that share one matrix.
        repeat: matrices per team; more than one only for matrices of one kind.
        parts: the matrices; matrix ``i`` goes to team ``i % teams`` in repetition ``i // teams``.
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
        return sum([part.count for part in self.parts])

    @property
    def groups(self) -> list[tuple[Kind, list[Part]]]:
        """Its parts in order, those of one kind that follow one another together."""
        return [(kind, list(parts)) for kind, parts in itertools.groupby(self.parts, lambda part: part.item.kind)]

    @property
    def travels(self) -> bool:
        """Whether tiles must travel before it; all its matrices do, or every device holds all of them whole."""
        return self.parts[0].item.kind.travels

    @property
    def dtype(self) -> str:
        """Name of the dtype that all its matrices have."""
        return self.parts[0].item.kind.dtype

    @property
    def wire(self) -> str:
        """Name of the dtype in which their tiles travel."""
        return self.parts[0].item.kind.wire


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
        itemsize = jnp.dtype(kinds[0].wire).itemsize
        flops, nbytes = (self.flops(*shape), 0.0) if team == 1 else self.team_flops(*shape, team)  # type: ignore
        return flops + self.flops_per_byte * (nbytes + (out + back) * math.prod(grid.values()) * itemsize)


def plan_runs(items: Sequence[Item], grid: Mapping[str, int], costs: Costs) -> tuple[list[Run], float]:
    """Divide the matrices into runs of least cost.

    Sorted by shape, the next run takes as many matrices as it has teams, or stops where the shape changes; team sizes
    divide the number of devices. The cheapest sequence is found by dynamic programming.

    In the example of `optax_muon.placement.exchange` the items are A, B (8, 32) and C, D (32, 8), the latter turned:
    all four are computed as (8, 32). They make one run of ``shape=(8, 32), team=1, repeat=1`` whose parts are A, B, C
    and D in that order, computed by the devices 0 to 3. Eight like A would make one run with ``repeat=2``, and
    A and B alone, where teams of two cost less than two idle devices, one run with ``team=2``.

    Args:
        items: stacks of matrices.
        grid: length of every mesh axis whose devices share the work, in device order.
        costs: what to minimise.

    Returns:
        The runs, and their cost in FLOPs of the slowest device.
    """
    # Largest first, so that little is padded. Every process must come to the same plan: no order of hashes.
    items = sorted(items, key=lambda item: (item.kind.dtype, *(-x for x in item.kind.shape), str(item.kind)))
    devices = math.prod(grid.values())
    classes, starts, hard = _classes(items, costs.pads)
    teams = [t for t in range(1, devices + 1) if devices % t == 0] if costs.team_flops else [1]
    # A run's cost depends on its kinds alone, so that thousands of matrices of few kinds are priced a few times.
    prices: dict[tuple[int, int, int], float] = {}
    # Number of matrices that are planned -> least cost, and the last run's begin and team.
    best: dict[int, tuple[float, int, int]] = {0: (0.0, 0, 1)}
    for begin in range(starts[-1]):
        if begin not in best:
            continue
        first = bisect.bisect_right(starts, begin) - 1
        for team in teams:
            reach = begin + devices // team
            # A run is full, or ends where the shape changes, or at a shape that may not share it.
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
    """Elements that one device sends to one other for a run of these kinds, on the way there and back.

    A tile that several devices hold is sent in pieces, one by each of them; every holder gets all of it back.
    """
    back = [math.prod(team_block(kind, team).local) for kind in kinds]
    if not kinds[0].travels:
        return 0, max(back)
    # Rounded up: pieces of one tile have one length.
    pieces = [-(-e // kind.block.replicas(grid)) for e, kind in zip(back, kinds, strict=True)]
    return max(pieces), max(back)


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
    """Follow the cheapest choices from the last matrix back; ``best``: end of a run -> (cost, its begin, its team)."""
    starts = list(itertools.accumulate((item.count for item in items), initial=0))
    runs = []
    while end:
        _, begin, team = best[end]
        parts = tuple(_between(items, starts, begin, end))
        runs.append(Run(_hull([part.item.kind for part in parts]), team, 1, parts))
        end = begin
    return runs[::-1]


def _share(a: Kind, b: Kind, pads: bool) -> bool:
    """Tell whether matrices of two kinds may share a run."""
    same = (a.dtype, a.split, a.travels) == (b.dtype, b.split, b.travels)
    return same and (a.shape == b.shape or (pads and a.split is None))


def _between(items: Sequence[Item], starts: Sequence[int], begin: int, end: int) -> list[Part]:
    """Matrices number ``begin`` to ``end`` of all; item ``i`` has those from ``starts[i]``."""
    first, last = bisect.bisect_right(starts, begin) - 1, bisect.bisect_left(starts, end)
    spans = ((items[i], max(begin - starts[i], 0), min(end - starts[i], items[i].count)) for i in range(first, last))
    return [Part(item, start, stop) for item, start, stop in spans if stop > start]


def _hull(kinds: Sequence[Kind]) -> tuple[int, int]:
    """Smallest (m, n) that holds the matrices of all kinds."""
    return max(kind.shape[0] for kind in kinds), max(kind.shape[1] for kind in kinds)


def _repeat(runs: Sequence[Run], devices: int) -> list[Run]:
    """Join full consecutive runs of one kind."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        # Only of one kind: a device then treats all its matrices alike and chooses once.
        like = last is not None and (last.team, last.kinds) == (run.team, run.kinds) and len(run.kinds) == 1
        if last is not None and like and last.count == last.repeat * (devices // last.team):
            joined[-1] = last._replace(repeat=last.repeat + 1, parts=_merged(last.parts + run.parts))
        else:
            joined.append(run)
    return joined


def _merged(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Join parts that follow one another in one item."""
    merged = [parts[0]]
    for part in parts[1:]:
        follows = (merged[-1].item, merged[-1].stop) == (part.item, part.start)
        merged[-1:] = [merged[-1]._replace(stop=part.stop)] if follows else [merged[-1], part]
    return tuple(merged)
