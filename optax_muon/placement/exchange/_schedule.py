"""What a mesh does with the matrices of a tree: which stay, which travel, in which rounds."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from optax_muon.linalg import SpectralMap
from optax_muon.linalg._flops import matrix_flops
from optax_muon.linalg._map_stack import Op
from optax_muon.matrices._leaf import Leaf, Split, matrix_shapes
from optax_muon.placement._placement import Here
from optax_muon.placement._sharding import Dims
from optax_muon.placement.exchange._device_teams import team_costs
from optax_muon.placement.exchange._planner import Costs, Item, Part, Run, plan_runs
from optax_muon.placement.exchange._rounds import divide_into_rounds
from optax_muon.placement.exchange._tiles import Block, Cut, Kind, plan_cut
from optax_muon.placement.exchange._wire_dtype import wire_dtype


@dataclasses.dataclass(frozen=True)
class Shard:
    """One parameter as every device sees it.

    Attributes:
        path: its name.
        shape: the local shape.
        dtype: of its entries.
        leaf: its axes.
        dims: for each dimension the mesh axes that shard it, major first.
    """

    path: str
    shape: tuple[int, ...]
    dtype: Any
    leaf: Leaf
    dims: Dims

    @functools.cached_property
    def batch_axes(self) -> tuple[str, ...]:
        """Mesh axes that shard its batch dimensions."""
        return tuple(name for axis in self.leaf.batch(len(self.shape)) for name in self.dims[axis])


class Group(NamedTuple):
    """Matrices that travel over the same axes.

    Attributes:
        grid: length of every axis, in device order.
        rounds: the runs of every exchange there and back.
    """

    grid: dict[str, int]
    rounds: list[list[Run]]


class Schedule(NamedTuple):
    """The plan of one update.

    Attributes:
        cuts: how each shard falls into stacks of tiles.
        origins: item index -> (shard, stack of its cut).
        groups: what travels.
        stay: shards whose matrices are computed on the local device.
    """

    cuts: list[Cut]
    origins: list[tuple[int, int]]
    groups: list[Group]
    stay: list[int]


@dataclasses.dataclass(frozen=True)
class Options:
    """How to schedule; see `OverMesh`."""

    axes: tuple[str, ...] | None
    slow_axes: tuple[str, ...]
    max_bytes: int
    flops_per_byte: float
    teams: bool
    exchange_dtype: Any


def make_schedule(
    op: Op,
    shards: Sequence[Shard],
    sizes: Mapping[str, int],
    usable: Sequence[str],
    options: Options,
) -> Schedule:
    """Plan one update.

    Args:
        op: the operation.
        shards: what each array is a shard of.
        sizes: length of every mesh axis.
        usable: axes whose replicas may share the work.
        options: limits and prices.

    Raises:
        ValueError: where a slow axis shards a matrix.
    """
    cuts = [plan_cut(shard.shape, shard.leaf, shard.dims) for shard in shards]
    origins, items, stay = [], {}, []
    kinds: dict[Any, Kind] = {}  # one object for equal ones, which are compared and asked again and again
    all_travel = [cut.travels for cut in cuts]
    for s, (shard, cut, travels) in enumerate(zip(shards, cuts, all_travel, strict=True)):
        if options.slow_axes:
            _require_fast(shard, cut, options)
        if 0 in shard.shape or (not travels and shard.batch_axes):
            # Whole matrices are here already, others on other devices: computed where they are.
            stay.append(s)
            continue
        for i, (block, (count, _, _)) in enumerate(zip(cut.blocks, matrix_shapes(shard.shape, cut.leaf), strict=True)):
            key = block, cut.split, shard.dtype
            kind = kinds[key] = kinds[key] if key in kinds else _kind(op, block, sizes, cut.split, shard.dtype, options)
            items.setdefault((shard.batch_axes, travels), []).append(Item(kind, count, len(origins)))
            origins.append((s, i))
    groups, costs = [], _costs(op, options)
    for (batch_axes, travels), members in items.items():
        # Along batch axes there are other matrices, and no matrix travels over a slow axis.
        free = [a for a in usable if a not in (*batch_axes, *options.slow_axes) and sizes[a] > 1]
        if travels:
            groups += _travel(members, free, sizes, costs(members), options)
        else:
            group = _divide(members, free, sizes, costs(members), options)
            groups += group
            stay += [] if group else sorted({origins[item.index][0] for item in members})
    return Schedule(cuts, origins, groups, stay)


def narrowed(schedule: Schedule, op: SpectralMap, here: Here, exchange_dtype: Any) -> Schedule:
    """Give the same plan with the dtypes in which matrices travel between devices that compute by ``here``."""
    items: dict[int, Item] = {}

    def other(part: Part) -> Part:
        """Replace the item of a part."""
        index, kind = part.item.index, part.item.kind
        if index not in items:
            wire = wire_dtype(here.form(op, kind.dtype), kind.dtype, exchange_dtype)
            items[index] = part.item._replace(kind=kind._replace(wire=wire))
        return part._replace(item=items[index])

    def of(group: Group) -> Group:
        """Replace the items of a group's runs."""
        rounds = [[run._replace(parts=tuple(map(other, run.parts))) for run in runs] for runs in group.rounds]
        return group._replace(rounds=rounds)

    return schedule._replace(groups=list(map(of, schedule.groups)))


def _require_fast(shard: Shard, cut: Cut, options: Options) -> None:
    """Raise where a slow axis shards a matrix, whose tiles would have to travel over it."""
    slow = [name for block in cut.blocks for name in block.axes if name in options.slow_axes]
    if slow:
        raise ValueError(
            f"{shard.path}: the slow axis {slow[0]!r} cuts its matrices, which would have to travel over it; shard a "
            f"batch axis over {slow[0]!r} instead, or take it out of slow_axes"
        )


def _kind(op: Op, block: Block, sizes: Mapping[str, int], split: Split | None, dtype: Any, options: Options) -> Kind:
    """Say how matrices of one block are computed: wide side last where the operation allows transposing."""
    m, n = block.whole(sizes)
    turned = isinstance(op, SpectralMap) and op.commutes_with_transpose and split is None and m > n
    return Kind(
        block,
        (n, m) if turned else (m, n),
        turned,
        split,
        str(jnp.dtype(dtype)),
        # A CPU's, by which the plan of every platform is made.
        wire_dtype(op.on_cpu() if isinstance(op, SpectralMap) else op, dtype, options.exchange_dtype),
    )


def _costs(op: Op, options: Options) -> Callable[[Sequence[Item]], Costs]:
    """Make the function that gives the costs of some items, all of which have one dtype."""

    @functools.cache
    def flops(m: int, n: int, dtype: str) -> float:
        return matrix_flops(op, m, n, jnp.dtype(dtype))

    def of(members: Sequence[Item]) -> Costs:
        dtype = members[0].kind.dtype
        whole = all(item.kind.split is None for item in members)
        teams = team_costs(op, jnp.dtype(dtype)) if options.teams and whole else None
        pads = isinstance(op, SpectralMap) and op.commutes_with_padding
        return Costs(lambda m, n: flops(m, n, dtype), teams, options.flops_per_byte, pads)

    return of


def _travel(
    members: Sequence[Item], free: Sequence[str], sizes: Mapping[str, int], costs: Costs, options: Options
) -> list[Group]:
    """Group sharded matrices: share them with the replicas of their shards, or not, whichever costs less.

    Args:
        members: the matrices.
        free: axes that may be used beside those that shard a matrix.
        sizes: length of every mesh axis.
        costs: what to minimise.
        options: of the schedule.
    """
    cutting: dict[frozenset[str], list[Item]] = {}
    for item in members:
        cutting.setdefault(frozenset(item.kind.block.axes), []).append(item)
    extra = [a for a in free if options.axes is None or a in options.axes]
    # All axes together, or one plan for every set of axes that shards some: fewer devices share, fewer bytes travel.
    choices = [[(list(frozenset().union(*cutting) | set(extra)), list(members))]]
    if options.axes is None:
        choices.append([(list(axes), some) for axes, some in cutting.items()])
    plans = []
    for choice in choices:
        total, groups = 0.0, []
        for axes, some in choice:
            grid = {name: length for name, length in sizes.items() if name in axes}
            for dtype in dict.fromkeys(item.kind.dtype for item in some):
                runs, cost = plan_runs([item for item in some if item.kind.dtype == dtype], grid, costs)
                total += cost
                groups.append(Group(grid, divide_into_rounds(runs, grid, options.max_bytes)))
        # The number decides between equal costs: groups cannot be compared.
        plans.append((total, len(plans), groups))
    return min(plans)[2]


def _divide(
    members: Sequence[Item], free: Sequence[str], sizes: Mapping[str, int], costs: Costs, options: Options
) -> list[Group]:
    """Group replicated matrices if gathering the results costs less than repeating all the work; else give none."""
    names = [a for a in free if options.axes is None or a in options.axes]
    grid = {name: length for name, length in sizes.items() if name in names}
    if not grid:
        return []
    total, groups = 0.0, []
    for dtype in dict.fromkeys(item.kind.dtype for item in members):
        runs, cost = plan_runs([item for item in members if item.kind.dtype == dtype], grid, costs)
        total += cost
        groups.append(Group(grid, divide_into_rounds(runs, grid, options.max_bytes)))
    # What each device computes if all compute everything.
    alone = sum(item.count * costs.flops(*item.kind.shape) for item in members)
    return groups if total < alone or options.axes is not None else []
