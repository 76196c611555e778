"""Carries a schedule out, on every device of a mesh at once."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info, SpectralMap
from optax_muon.matrices._leaf import Leaf
from optax_muon.placement._local import Local
from optax_muon.placement._loop import Op, after
from optax_muon.placement._placement import Done, Work
from optax_muon.placement.exchange._all_to_all import Grid, choose, give_back, send, share
from optax_muon.placement.exchange._device_teams import compute_in_teams
from optax_muon.placement.exchange._per_matrix_values import globalize, localize, per_matrix, per_piece
from optax_muon.placement.exchange._planner import Run
from optax_muon.placement.exchange._schedule import Group, Schedule, Shard
from optax_muon.placement.exchange._tiles import Cut, cut, uncut


def carry_out(
    op: Op, schedule: Schedule, shards: Sequence[Shard], works: Sequence[Work], sizes: Mapping[str, int]
) -> list[Done]:
    """Map every shard; runs inside `jax.shard_map`. Carries and keys are those of all matrices, on every device."""
    memory = [localize((w.carries, w.keys), shard, sizes) for w, shard in zip(works, shards, strict=True)]
    mine = [w._replace(carries=carries, keys=keys) for w, (carries, keys) in zip(works, memory, strict=True)]
    stay = Local().run(op, [mine[s] for s in schedule.stay])
    done: dict[int, Done] = dict(zip(schedule.stay, stay, strict=True))
    travel = _Travel(op, schedule, mine)
    for group in schedule.groups:
        travel.exchange(group)
    done.update({s: travel.collect(s) for s in range(len(works)) if s not in done})
    results = [done[s] for s in range(len(works))]
    return [
        Done(x.array, *globalize((x.carries, x.infos), shard, sizes)) for x, shard in zip(results, shards, strict=True)
    ]


@dataclasses.dataclass
class _Travel:
    """Matrices on their way: by item index, the blocks to send and what has come back."""

    op: Op
    schedule: Schedule
    works: Sequence[Work]

    def __post_init__(self):
        cuts = {s: cut(self.works[s].array, self.schedule.cuts[s]) for s, _ in self.schedule.places}
        places = dict(enumerate(self.schedule.places))
        self.stacks = {index: cuts[s][i] for index, (s, i) in places.items()}
        self.others: dict[str, dict[int, Array]] = {}
        self.values: dict[int, PyTree] = {}
        self.arrived: dict[int, list[Array]] = {}
        self.learned: dict[int, list[PyTree]] = {}
        for index, (s, i) in places.items():
            work, plan = self.works[s], self.schedule.cuts[s]
            for name, x in work.others.items():
                self.others.setdefault(name, {})[index] = cut(x, plan)[i]
            if not isinstance(self.op, SpectralMap):
                self.values[index] = per_matrix(_values(work, i, plan), self.stacks[index].shape[0])

    def exchange(self, group: Group) -> None:
        """Send, compute and give back, one round after another."""
        last = None
        for runs in group.rounds:
            indices = dict.fromkeys(part.item.index for run in runs for part in run.parts)
            # A round starts when the one before has come back, so that only one exchange is alive at a time.
            sent = send(runs, {index: after(self.stacks[index], last) for index in indices}, group.grid)
            others = {name: send(runs, table, group.grid) for name, table in self.others.items()}
            results = self._compute(runs, sent, others, group.grid)
            pieces = give_back(runs, results, group.grid, runs[0].kinds[0].dtype)
            for index, xs in pieces.items():
                self.arrived.setdefault(index, []).extend(xs)
            last = next(iter(pieces.values()))[0]

    def collect(self, s: int) -> Done:
        """Put a shard together from what has come back."""
        indices = [index for index, (owner, _) in enumerate(self.schedule.places) if owner == s]
        stacks = [jnp.concatenate(self.arrived[index]) for index in indices]
        array = uncut(stacks, self.schedule.cuts[s], self.works[s].array.shape)
        if isinstance(self.op, SpectralMap):
            return Done(array, (), tuple(Info() for _ in indices))
        known = [jax.tree.map(lambda *xs: jnp.concatenate(xs), *self.learned[index]) for index in indices]
        carries, infos = (tuple(x for entry in map(per_piece, known) for x in entry[k]) for k in (0, 1))
        return Done(array, carries, infos)

    def _compute(
        self, runs: Sequence[Run], sent: Sequence[Array], others: Mapping[str, Sequence[Array]], grid: Grid
    ) -> list[Array]:
        alone = [k for k, run in enumerate(runs) if run.team == 1]
        works = []
        for k in alone:
            carries, keys = per_piece(choose(runs[k], self.values, grid)) if self.values else ((), None)
            leaf = Leaf("hidden", 1, 2, split=runs[k].kinds[0].split)
            works.append(Work(sent[k], leaf, carries, keys, {name: xs[k] for name, xs in others.items()}))
        results = dict(zip(alone, Local(temporary=True).run(self.op, works), strict=True))
        for k in results if self.values else ():
            values = per_matrix((results[k].carries, results[k].infos), runs[k].repeat)
            for index, pieces in share(runs[k], values, grid).items():
                self.learned.setdefault(index, []).extend(pieces)
        return [
            results[k].array if k in results else compute_in_teams(self.op, sent[k], run.team, grid)
            for k, run in enumerate(runs)
        ]


def _values(work: Work, i: int, plan: Cut) -> PyTree:
    """Memory and keys of one stack of the cut; of all the parameter's stacks where a split is still inside."""
    chosen = slice(None) if plan.split is not None else slice(i, i + 1)
    return work.carries[chosen], None if work.keys is None else work.keys[chosen]
