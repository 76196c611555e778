"""The placement over a mesh of devices."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from optax_muon.linalg import SpectralMap
from optax_muon.linalg._map_stack import Op
from optax_muon.linalg._op_arrays import arrays_of, with_arrays
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._shard_view import bound_axes, gathered, shard_view, vary, varying_axes
from optax_muon.placement._beside_matrices import cuts_of, resharded
from optax_muon.placement._by_constraints import run_constrained
from optax_muon.placement._by_partitioner import run_by_partitioner
from optax_muon.placement._local import Local
from optax_muon.placement._placement import Done, Placement, Work
from optax_muon.placement._sharding import Layout, find_layout, sizes_of
from optax_muon.placement.exchange._execute import execute
from optax_muon.placement.exchange._pieces import as_piece
from optax_muon.placement.exchange._schedule import Options, Schedule, Shard, make_schedule


@dataclasses.dataclass(frozen=True)
class OverMesh(Placement):
    """Divide the matrices among the devices of a mesh; without a mesh in sight, compute on the local device.

    Where shardings are known (an Explicit mesh, `Leaf.spec`, or ``specs``) the whole update is one all-to-all each way
    for all leaves together, and no collective inside an iteration. On an Auto mesh without specs like leaves are
    stacked and resharded by constraints, one mesh axis at a time; give specs if you can. A leaf that is
    sharded over batch axes alone does not travel.

    Args:
        axes: mesh axes whose devices share the work, beside those that shard the matrices; None: the planner takes
            any that are not slow where it pays.
        mesh: for code without an ambient mesh; a mesh in an array's type comes first.
        specs: a tree of `jax.sharding.PartitionSpec` or `NamedSharding` like the parameters, matched by path; needed
            under `jax.jit` on an Auto mesh where no leaf has a spec.
        slow_axes: axes between hosts or pods; matrices never travel over them.
        max_bytes: what one exchange may send and receive per device, together; more matrices go in further rounds. The
            temporaries of an update stay below twice as much.
        flops_per_byte: FLOPs that a device does while it sends one byte, for the planner; 150 suits slow arithmetic,
            2000 bfloat16 over a TPU's links.
        teams: let several devices share a matrix when there are more devices than matrices.
        exchange_dtype: in which matrices travel where that is narrower than their own; None: bfloat16 where the
            arithmetic is `BFLOAT16`, which would round them at once, as the default's is on a TPU or GPU.
            ``jnp.float32`` keeps every bit.
        ask_partitioner: on an Auto mesh without specs, on CPUs and GPUs, exchange spectral maps' matrices as where
            shardings are known, which the partitioner tells while the program is compiled. JAX's compilation cache
            misses such a program in every new process, and `jax.export` does not take it.

    Example:
        >>> import optax_muon as om
        >>> tx = om.muon(0.02, placement=om.OverMesh(slow_axes=("pod",)))
    """

    axes: tuple[str, ...] | None = None
    mesh: Any = None
    specs: PyTree = None
    slow_axes: tuple[str, ...] = ()
    max_bytes: int = 1 << 30
    flops_per_byte: float = 500.0
    teams: bool = True
    exchange_dtype: Any = None
    ask_partitioner: bool = False

    def __post_init__(self):
        """Bring names to tuples; raise on sizes that cannot be and on axes that the mesh lacks."""
        for name in ("axes", "slow_axes"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else value and tuple(value))
        for name in ("max_bytes", "flops_per_byte"):
            # Not ``< 0``: NaN must raise too.
            if not getattr(self, name) >= 0:
                raise ValueError(f"OverMesh: {name} must be >= 0, not {getattr(self, name)}")
        self._check(self.mesh)

    @property
    def options(self) -> Options:
        """What the planner needs to know."""
        return Options(
            self.axes, self.slow_axes or (), self.max_bytes, self.flops_per_byte, self.teams, self.exchange_dtype
        )

    def run(self, op: Op, works: Sequence[Work]) -> list[Done]:
        """Map every array."""
        if not self._sees_a_mesh(works):
            return Local().run(op, works)
        specs = self.specs_by_path()
        layouts = [find_layout(w.array, w.leaf, w.path, self.mesh, specs.get(w.path)) for w in works]
        groups: dict[Any, list[int]] = {}
        for i, (work, layout) in enumerate(zip(works, layouts, strict=True)):
            way = "local" if layout.mesh is None else "known" if layout.dims is not None else "unknown"
            # Arrays of two meshes cannot enter one `jax.shard_map`, but those of one mesh share a plan.
            groups.setdefault((way, layout.mesh, layout.inside, _company(work, layout)), []).append(i)
        done: dict[int, Done] = {}
        for (way, mesh, *_), members in groups.items():
            some, where = [works[i] for i in members], [layouts[i] for i in members]
            self._check(mesh)
            if way == "local":
                made = Local().run(op, some)
            elif way == "unknown":
                made = self._unknown(op, some, mesh)
            elif where[0].is_manual:
                made = self._inside(op, some, where)
            else:
                made = self._mapped(op, some, where)
            done.update(zip(members, made, strict=True))
        return [done[i] for i in range(len(works))]

    def specs_by_path(self) -> dict[str, Any]:
        """Give the specs that were passed by hand, by path."""
        return by_path(self.specs, is_leaf=lambda x: isinstance(x, PartitionSpec | jax.sharding.Sharding))

    def _sees_a_mesh(self, works: Sequence[Work]) -> bool:
        """Tell whether anything names a mesh; where nothing does, no array needs to be asked how it is sharded."""
        ambient = jax.sharding.get_abstract_mesh()
        if self.mesh is not None or self.specs is not None or not ambient.empty:
            return True
        return any(work.leaf.spec is not None or _has_mesh(work.array) for work in works)

    def _check(self, mesh: Any) -> None:
        """Raise where an option names an axis that the mesh lacks."""
        if mesh is None or mesh.empty:
            return
        for name in (*(self.axes or ()), *(self.slow_axes or ())):
            if name not in mesh.axis_names:
                raise ValueError(f"OverMesh: the mesh has axes {mesh.axis_names}, and no {name!r}")

    def schedule(self, op: Op, works: Sequence[Work], layouts: Sequence[Layout]) -> tuple[Schedule, list[Shard]]:
        """Plan an update of arrays that are sharded as ``layouts`` say; also give each array's shard."""
        sizes = sizes_of(layouts[0].mesh)
        shards = [_shard(work, layout, sizes) for work, layout in zip(works, layouts, strict=True)]
        # Devices along an axis of the caller's own map that does not shard the array may hold other matrices.
        return make_schedule(op, shards, sizes, layouts[0].axes, self.options), shards

    def _unknown(self, op: Op, works: Sequence[Work], mesh: Any) -> list[Done]:
        """Map arrays of which nothing tells how they are sharded."""

        def by_constraints(op: Op, works: Sequence[Work]) -> list[Done]:
            return run_constrained(op, works, mesh, self.options)

        # The partitioner knows all axes of a program or none, and would find a slow one too late to say so.
        whole = not self.slow_axes and not bound_axes() and set(mesh.axis_types) == {AxisType.Auto}
        if self.ask_partitioner and whole and isinstance(op, SpectralMap):
            return run_by_partitioner(op, works, self.schedule, self.exchange_dtype, by_constraints)
        return by_constraints(op, works)

    def _inside(self, op: Op, works: Sequence[Work], layouts: Sequence[Layout]) -> list[Done]:
        """Map shards inside the caller's own `jax.shard_map`."""
        schedule, shards = self.schedule(op, works, layouts)
        # Who computes a matrix differs along the axes that cut it, and so does what is computed with it.
        works = [w._replace(**vary({"carries": w.carries, "keys": w.keys}, varying_axes(w.array))) for w in works]
        done = execute(op, schedule, shards, works, sizes_of(layouts[0].mesh), self.exchange_dtype)
        return [Done(x.array, *_settled((x.carries, x.infos), w)) for x, w in zip(done, works, strict=True)]

    def _mapped(self, op: Op, works: Sequence[Work], layouts: Sequence[Layout]) -> list[Done]:
        """Map arrays of known shardings in a `jax.shard_map` over all axes, or all that the caller's own does not map.

        Over all, since a partitioner that has a say in what is computed may put collectives anywhere.
        """
        mesh, inside = layouts[0].mesh, layouts[0].inside
        schedule, shards = self.schedule(op, works, layouts)
        # Nothing is sharded, and dividing the work does not pay: every device computes all of it, as without a mesh.
        if not (inside or schedule.groups or any(entry for layout in layouts for entry in layout.spec or ())):
            return Local().run(op, works)
        # Without the check of varying axes, since maps make constants inside.
        specs, whole = [layout.spec for layout in layouts], PartitionSpec()

        def body(arrays: list[Array], others: list, values: list, numbers: list[Array]) -> tuple[list[Array], list]:
            """Run the schedule on this device's shards."""
            local = [
                w._replace(array=x, others=beside, carries=jax.tree.map(as_piece, carries, cut), keys=keys)
                for w, x, beside, (carries, keys), (cut, _) in zip(works, arrays, others, values, cuts, strict=True)
            ]
            done = execute(with_arrays(op, numbers), schedule, shards, local, sizes_of(mesh), self.exchange_dtype)
            return [x.array for x in done], [(x.carries, x.infos) for x in done]

        others = [
            {name: resharded(x, s, mesh) for name, x in w.others.items()} for w, s in zip(works, specs, strict=True)
        ]
        # Carries and keys belong to whole matrices, and who computes which is the plan's affair: what is not cut goes
        # everywhere.
        given = [(w.carries, w.keys) for w in works]
        cuts = [cuts_of(w, layout) for w, layout in zip(works, layouts, strict=True)]
        values = jax.tree.map(lambda x, cut: resharded(x, cut, mesh), given, cuts)
        numbers = jax.tree.map(lambda x: resharded(x, whole, mesh), arrays_of(op))
        beside = [dict.fromkeys(w.others, s) for w, s in zip(works, specs, strict=True)]
        kept = [(carries or whole, whole) for carries, _ in cuts]
        given, made, names = (specs, beside, cuts, whole), (specs, kept), set(layouts[0].axes)
        mapped = jax.shard_map(body, mesh=mesh, in_specs=given, out_specs=made, axis_names=names, check_vma=False)
        arrays, learned = mapped([w.array for w in works], others, values, numbers)
        return [Done(vary(x, varying_axes(w.array)), *rest) for x, w, rest in zip(arrays, works, learned, strict=True)]


def _company(work: Work, layout: Layout) -> Any:
    """Say which arrays may share an exchange inside the caller's own map; anywhere else all may.

    Along an axis of that map that does not cut an array there may be other arrays, or the same: it takes no part in the
    exchange, or what comes back would count as different there.
    """
    if not layout.inside:
        return None
    batch = work.leaf.batch(work.array.ndim)
    cutting = (name for axis, dim in enumerate(layout.dims or ()) if axis not in batch for name in dim)
    return frozenset(cutting) & set(layout.inside), varying_axes(work.array)


def _settled(values: PyTree, work: Work) -> PyTree:
    """Let values of whole matrices count as the same along axes of length one that the array's spec names."""
    view = shard_view(work.array.shape, work.leaf)
    names = {name for dim in view.dims for name in dim if view.sizes[name] == 1} & varying_axes(work.array)
    return jax.tree.map(lambda x: gathered(x, sorted(names))[0], values) if names else values


def _has_mesh(array: Any) -> bool:
    """Tell whether an array's type, or the array itself where it is not traced, names a mesh."""
    if isinstance(array, Tracer):
        return not jax.typeof(array).sharding.mesh.empty
    return isinstance(getattr(array, "sharding", None), NamedSharding)


def _shard(work: Work, layout: Layout, sizes: Any) -> Shard:
    """Say what one device holds of an array; ``sizes``: length of every mesh axis."""
    assert layout.dims is not None
    shape = list(work.array.shape)
    for axis, dim in enumerate(layout.dims):
        for name in dim:
            # Inside the caller's own map the array's shape is the shard's already.
            shape[axis] //= 1 if name in layout.inside else sizes[name]
    return Shard(work.path, tuple(shape), work.array.dtype, work.leaf, layout.dims)
