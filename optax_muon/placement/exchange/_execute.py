"""Carries out a schedule, on every device of a mesh at once."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jaxtyping import Array, PyTree

from optax_muon.linalg import SpectralMap
from optax_muon.linalg._map_stack import Op, after
from optax_muon.matrices._leaf import Leaf
from optax_muon.placement._buckets import Mapped, Stack, collect, cut, join
from optax_muon.placement._by_form import run_by_form
from optax_muon.placement._local import Local
from optax_muon.placement._placement import Done, Here, Work
from optax_muon.placement.exchange._all_to_all import send, send_back
from optax_muon.placement.exchange._device_teams import compute_in_teams
from optax_muon.placement.exchange._per_matrix_values import by_matrix, by_piece, globalize, localize
from optax_muon.placement.exchange._pieces import gather_values, is_piece, own_values, put_together
from optax_muon.placement.exchange._planner import Run
from optax_muon.placement.exchange._schedule import Group, Schedule, Shard, narrowed
from optax_muon.placement.exchange._tiles import Cut, Grid


def execute(
    op: Op,
    schedule: Schedule,
    shards: Sequence[Shard],
    works: Sequence[Work],
    sizes: Mapping[str, int],
    exchange_dtype: Any = None,
) -> list[Done]:
    """Map every shard; runs inside `jax.shard_map`.

    Args:
        op: the operation.
        schedule: the plan of the update.
        shards: what each array is a shard of.
        works: the local arrays; carries and keys are those of all matrices, on every device, or a `Piece` of each.
        sizes: length of every mesh axis.
        exchange_dtype: see `OverMesh`.

    Returns:
        The local results; carries and infos are those of all matrices again, or this device's part of what came in as a
        `Piece`.
    """
    if isinstance(op, SpectralMap):  # which has no values of single matrices

        def run(works: Sequence[Work], here: Here) -> list[Done]:
            return _execute_locally(op, narrowed(schedule, op, here, exchange_dtype), works, here)

        return run_by_form(op, works, run)
    values = [localize((w.carries, w.keys), shard, sizes) for w, shard in zip(works, shards, strict=True)]
    mine = [w._replace(carries=carries, keys=keys) for w, (carries, keys) in zip(works, values, strict=True)]
    done = _execute_locally(op, schedule, mine, Local())
    return [
        Done(x.array, *globalize((x.carries, x.infos), (w.carries, x.infos), shard, sizes))
        for x, w, shard in zip(done, works, shards, strict=True)
    ]


def _execute_locally(op: Op, schedule: Schedule, works: Sequence[Work], here: Here) -> list[Done]:
    """Map every shard; carries and keys are those of the matrices of which this device holds tiles."""
    stay = here.run(op, [works[s]._replace(carries=put_together(works[s].carries)) for s in schedule.stay])
    done: dict[int, Done] = dict(zip(schedule.stay, stay, strict=True))
    exchange = _Exchange(op, schedule, works, here)
    for group in schedule.groups:
        exchange.run(group)
    return [done[s] if s in done else exchange.collect(s) for s in range(len(works))]


@dataclasses.dataclass
class _Exchange:
    """Matrices on their way: by item index, the tiles to send and what has come back."""

    op: Op
    schedule: Schedule
    works: Sequence[Work]
    here: Here

    def __post_init__(self):
        """Cut the shards into stacks; nothing has arrived yet."""
        self.has_values = not isinstance(self.op, SpectralMap)  # carries, keys and infos of single matrices
        tiles = _tiles_and_values if self.has_values else _tiles
        # By shard first: one with several stacks is cut once.
        cuts = {s: tiles(self.works[s], self.schedule.cuts[s]) for s in dict(self.schedule.origins)}
        self.stacks: list[Stack] = [cuts[s][i] for s, i in self.schedule.origins]
        if self.has_values:
            self._put_mixed_together()
        self.arrived: dict[int, list[Array]] = {}
        self.learned: dict[int, list[PyTree]] = {}

    def _put_mixed_together(self) -> None:
        """Make those values whole that are cut otherwise than others of their run."""
        runs = [(run, group.grid) for group in self.schedule.groups for runs in group.rounds for run in runs]
        mixed = True
        while mixed:  # what becomes whole may mix with what another run has cut
            mixed = {i for run, grid in runs for i in self._mixed(run, grid)}
            for i in mixed:
                self.stacks[i] = self.stacks[i]._replace(carry=put_together(self.stacks[i].carry))

    def _mixed(self, run: Run, grid: Grid) -> set[int]:
        """Items of a run whose values are in pieces that cannot be sent together."""
        items = {part.item.index for part in run.parts}
        cuts = {i: [x for x in jax.tree.leaves(self.stacks[i].carry, is_leaf=is_piece) if is_piece(x)] for i in items}
        reach = all(set(x.names) <= set(grid) for pieces in cuts.values() for x in pieces)
        alike = len({jax.tree.structure(self.stacks[i].carry) for i in items}) == 1
        return set() if reach and alike else {i for i in items if cuts[i]}

    def run(self, group: Group) -> None:
        """Send, compute and send back, one round after another."""
        last = None
        for runs in group.rounds:
            stacks = {i: self.stacks[i] for i in dict.fromkeys(part.item.index for run in runs for part in run.parts)}
            names = next(iter(stacks.values())).others
            # A round starts when the one before has come back, so that only one exchange is alive at a time.
            sent = self._sent(runs, after({i: stack.matrices for i, stack in stacks.items()}, last), group.grid)
            others = {
                name: self._sent(runs, {i: stack.others[name] for i, stack in stacks.items()}, group.grid)
                for name in names
            }
            results = self._compute(runs, sent, others, group.grid)
            back = send_back(runs, results, group.grid, native=self.here.native_tiles)
            for i, tiles in back.items():
                self.arrived.setdefault(i, []).extend(tiles)
            last = next(iter(back.values()))[0]

    def _sent(self, runs: Sequence[Run], stacks: Mapping[int, Array], grid: Grid) -> list[Array]:
        """Bring matrices to their owners, in their own dtype unless the map would round them to another at once."""
        arrived = send(runs, stacks, grid, native=self.here.native_tiles)
        return [
            x if self.here.reads(self.op, run.dtype) == x.dtype else x.astype(run.dtype)
            for run, x in zip(runs, arrived, strict=True)
        ]

    def collect(self, s: int) -> Done:
        """Put a shard together from the tiles that have come back."""
        indices = [i for i, (owner, _) in enumerate(self.schedule.origins) if owner == s]
        work = self.works[s]._replace(leaf=self.schedule.cuts[s].leaf)
        matrices = [join(self.arrived[i]) for i in indices]
        if not self.has_values:
            return collect(work, [Mapped(x) for x in matrices])
        values = [by_piece(join(self.learned[i])) for i in indices]
        done = collect(work, [Mapped(x, *known) for x, known in zip(matrices, values, strict=True)])
        # A stack of tiles with a split inside has carries and infos of several stacks of the parameter.
        carries, infos = (tuple(x for entry in entries for x in entry) for entries in (done.carries, done.infos))
        return Done(done.array, carries, infos)

    def _compute(
        self, runs: Sequence[Run], sent: Sequence[Array], others: Mapping[str, Sequence[Array]], grid: Grid
    ) -> list[Array]:
        """Map what has arrived: for each run this device's matrices (repeat, m, share of n)."""
        alone = [k for k, run in enumerate(runs) if run.team == 1]
        values = {i: (stack.carry, stack.keys) for i, stack in enumerate(self.stacks)} if self.has_values else {}
        works = []
        for k in alone:
            carries, keys = by_piece(own_values(runs[k], values, grid)) if self.has_values else ((), None)
            leaf = Leaf("hidden", 1, 2, split=runs[k].kinds[0].split)
            works.append(Work(sent[k], leaf, carries, keys, {name: xs[k] for name, xs in others.items()}))
        results = dict(zip(alone, self.here.run(self.op, works, temporary=True), strict=True))
        for k in results if self.has_values else ():
            learned = by_matrix((results[k].carries, results[k].infos), runs[k].repeat)
            given = self.stacks[runs[k].parts[0].item.index].carry, learned[1]
            for i, parts in gather_values(runs[k], learned, grid, given).items():
                self.learned.setdefault(i, []).extend(parts)
        return [results[k].array if k in results else self._in_team(run, sent[k], grid) for k, run in enumerate(runs)]

    def _in_team(self, run: Run, x: Array, grid: Grid) -> Array:
        """Map what has arrived for a run whose matrices several devices share."""
        assert isinstance(self.op, SpectralMap)  # the planner makes teams for nothing else
        return compute_in_teams(self.here.form(self.op, x.dtype), x, run.team, grid)


def _tiles(work: Work, plan: Cut) -> list[Stack]:
    """Cut a shard into stacks of tiles (count, rows, cols)."""
    return cut(work._replace(leaf=plan.leaf))


def _tiles_and_values(work: Work, plan: Cut) -> list[Stack]:
    """Cut a shard into stacks of tiles (count, rows, cols), whose carries and keys have one entry per matrix.

    A stack of tiles with a split inside takes the values of all the parameter's stacks, else each has its own.
    """

    def grouped(values: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
        return (values,) if plan.split is not None else tuple((value,) for value in values)

    keys = None if work.keys is None else grouped(work.keys)
    stacks = _tiles(work._replace(carries=grouped(work.carries), keys=keys), plan)
    counts = [stack.matrices.shape[0] for stack in stacks]
    return [
        stack._replace(carry=by_matrix(stack.carry, count), keys=by_matrix(stack.keys, count))
        for stack, count in zip(stacks, counts, strict=True)
    ]
