"""What an update will cost on a mesh, before anything runs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from optax_muon.linalg import MatrixOp
from optax_muon.linalg._flops import matrix_flops, plain_flops
from optax_muon.linalg._map_stack import Op
from optax_muon.matrices._leaf import Leaf, matrix_shapes
from optax_muon.placement._on_shards import OnShards, block_leaf
from optax_muon.placement._over_mesh import OverMesh
from optax_muon.placement._placement import Work
from optax_muon.placement._sharding import Layout, find_layout
from optax_muon.placement.exchange._device_teams import team_costs
from optax_muon.placement.exchange._planner import Run, exchange_elements
from optax_muon.placement.exchange._schedule import Group

COLUMNS = (
    "where",
    "round",
    "matrices",
    "shape",
    "devices each",
    "repeats",
    "GFLOP",
    "MB out",
    "MB back",
    "MB in teams",
)


class RunCost(NamedTuple):
    """One run: ``repeat`` matrices on every team, one after another; costs are per device.

    Attributes:
        where: the mesh axes that share the run; empty where matrices are computed on the local device.
        round: number of the exchange that it belongs to.
        matrices: how many.
        shape: to which they are padded.
        team: devices per matrix.
        repeat: matrices per team.
        flops: of one device.
        out: bytes that one device receives before the run.
        back: bytes that one device receives after it.
        within: bytes that one device exchanges with its team while it computes.
    """

    where: tuple[str, ...]
    round: int
    matrices: int
    shape: tuple[int, int]
    team: int
    repeat: int
    flops: float
    out: float
    back: float
    within: float


@dataclasses.dataclass(frozen=True)
class PlacementReport:
    """Rows by run, and totals against the lower bounds; printing it draws a table.

    Attributes:
        rows: one entry per run.
        devices: of the mesh.
        plain: FLOPs of five plain quintic steps on all matrices.
        elements: bytes of all matrices.
        cut: whether a matrix is sharded over devices; the bound on bytes is ``2 elements / devices`` then, and
            ``elements`` where all are replicated.
        beside: further matrices that the operation takes with each, such as weights: sharded ones travel out with it.
    """

    rows: tuple[RunCost, ...]
    devices: int
    plain: float
    elements: float
    cut: bool
    beside: int = 0

    @property
    def flops(self) -> float:
        """FLOPs of one device."""
        return sum(row.flops for row in self.rows)

    @property
    def nbytes(self) -> float:
        """Bytes that one device receives."""
        return sum(row.out + row.back + row.within for row in self.rows)

    @property
    def bound(self) -> float:
        """Bytes that one device must receive where all matrices travel."""
        travels = any(row.out + row.back for row in self.rows)
        ways = 2 + self.beside
        return (ways * self.elements / self.devices if self.cut else self.elements) if travels else 0.0

    def __rich__(self) -> Table:
        """Draw with rich."""
        share = self.plain / self.devices
        part = self.flops / max(share, 1)
        summary = f"per device: {self.flops / 1e9:.3g} GFLOP, {part:.3f} of plain / {self.devices}; "
        summary += f"{self.nbytes / 1e6:.4g} MB (bound {self.bound / 1e6:.4g})"
        table = Table(*COLUMNS, caption=summary)
        for row in self.rows:
            size = [f"{row.flops / 1e9:.3g}", *(f"{x / 1e6:.3g}" for x in (row.out, row.back, row.within))]
            where = " ".join(row.where) or "on the local device"
            numbers = [str(x) for x in (row.round, row.matrices, "x".join(map(str, row.shape)), row.team, row.repeat)]
            table.add_row(where, *numbers, *size)
        return table

    def __str__(self) -> str:
        """Draw as plain text."""
        console = Console(width=120)
        with console.capture() as capture:
            console.print(self.__rich__())
        return capture.get()


def report(op: Op, placement: OverMesh | OnShards, works: Sequence[Work]) -> PlacementReport:
    """Plan one update of these arrays (shapes are enough) and say what it costs.

    Raises:
        ValueError: where shardings are not known.
    """
    specs = placement.specs_by_path() if isinstance(placement, OverMesh) else {}
    layouts = [find_layout(w.array, w.leaf, w.path, placement.mesh, specs.get(w.path)) for w in works]
    for work, layout in zip(works, layouts, strict=True):
        if layout.dims is None:
            raise ValueError(
                f"placement_report: the sharding of {work.path} is not known; give shardings, Leaf.spec or "
                "OverMesh(specs=)"
            )
    if isinstance(placement, OnShards):
        rows = [row for work, layout in zip(works, layouts, strict=True) for row in _block_costs(op, work, layout)]
    else:
        schedule, shards = placement.schedule(op, works, layouts)
        rows = [row for group in schedule.groups for row in _run_costs(op, group)]
        for shard in (shards[s] for s in schedule.stay):
            rows += _local_costs(op, shard.shape, shard.leaf, shard.dtype)
    shapes = [shape for work in works for shape in matrix_shapes(work.array.shape, work.leaf)]
    plain = sum(count * plain_flops(m, n) for count, m, n in shapes)
    elements = sum(math.prod(work.array.shape) * jnp.dtype(work.array.dtype).itemsize for work in works)
    # The bounds of traffic differ: replicated matrices need no way there, but all of them on the way back.
    cut = any(name for layout in layouts for dim in layout.dims or () for name in dim)
    devices = math.prod(layouts[0].mesh.shape.values()) if works else 1
    return PlacementReport(tuple(rows), devices, plain, float(elements), cut, _beside(op))


def _beside(op: Op) -> int:
    """Count the further matrices that an operation takes with each."""
    return len(op.takes) if isinstance(op, MatrixOp) else 0


def _local_costs(op: Op, shape: Sequence[int], leaf: Leaf, dtype: Any) -> list[RunCost]:
    """Costs of what one device computes of an array without sending any of it."""
    # `matrix_flops` counts one pass over the entries too, which is no product.
    return [
        RunCost((), 0, count, (m, n), 1, count, count * (matrix_flops(op, m, n, dtype) - m * n), 0.0, 0.0, 0.0)
        for count, m, n in matrix_shapes(shape, leaf)
    ]


def _block_costs(op: Op, work: Work, layout: Layout) -> list[RunCost]:
    """Costs of one device's block of an array."""
    parts = [math.prod(layout.mesh.shape[name] for name in dim) for dim in layout.dims or ()]
    shape = [length // part for length, part in zip(work.array.shape, parts, strict=True)]
    return _local_costs(op, shape, block_leaf(work.leaf, layout), work.array.dtype)


def _run_costs(op: Op, group: Group) -> list[RunCost]:
    """Costs of all runs that share their axes."""
    return [_run_cost(op, run, group.grid, i) for i, runs in enumerate(group.rounds) for run in runs]


def _run_cost(op: Op, run: Run, grid: Mapping[str, int], number: int) -> RunCost:
    """Cost of one run of round ``number``; ``grid``: length of every axis, in device order."""
    dtype = jnp.dtype(run.dtype)
    team = team_costs(op, dtype)
    each, within = matrix_flops(op, *run.shape, dtype) - math.prod(run.shape), 0.0  # products alone
    if run.team > 1 and team is not None:
        each, within = team(*run.shape, run.team)
    # Bytes that one device receives from all devices for each element that it gets from one.
    size = run.repeat * math.prod(grid.values()) * jnp.dtype(run.wire).itemsize
    out, back = (size * elements for elements in exchange_elements(run.kinds, run.team, grid))
    out *= 1 + _beside(op)
    flops, sent = run.repeat * each, run.repeat * within
    return RunCost(tuple(grid), number, run.count, run.shape, run.team, run.repeat, flops, out, back, sent)
