"""How an array is sharded over a mesh, as far as it can be told."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._shard_view import bound_axes, entries, require_specs, shard_view

Dims = tuple[tuple[str, ...], ...]


class Layout(NamedTuple):
    """How one array is sharded.

    Attributes:
        mesh: a `jax.sharding.Mesh` or `AbstractMesh`; None: no mesh in sight.
        dims: for each dimension the axes that shard it, major first; None: the mesh is known and these are not.
        inside: the axes of the caller's own `jax.shard_map` around the code, over which the array is a shard already.
        spec: ``dims`` without those axes, as JAX writes it.
    """

    mesh: Any = None
    dims: Dims | None = None
    inside: tuple[str, ...] = ()
    spec: PartitionSpec | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes over which the array is whole in the program's eyes; those inside the caller's map are not."""
        return () if self.mesh is None else tuple(name for name in self.mesh.axis_names if name not in self.inside)

    @property
    def is_manual(self) -> bool:
        """Whether the caller's map is over every axis longer than one: nothing is left to the partitioner."""
        return bool(self.inside) and all(self.mesh.shape[name] == 1 for name in self.axes)


def find_layout(array: Any, leaf: Leaf, path: str = "", mesh: Any = None, spec: Any = None) -> Layout:
    """Find how an array is sharded: by its type, else by a spec given by hand, else by the array itself.

    Args:
        array: an array, a tracer or a `jax.ShapeDtypeStruct`.
        leaf: its axes; ``leaf.spec`` counts where no spec is given by hand.
        path: its name, for messages.
        mesh: of code without an ambient mesh.
        spec: a `PartitionSpec` or `NamedSharding` given by hand, or None.

    Raises:
        ValueError: for a shard inside `jax.shard_map` whose spec is not known.
    """
    concrete, abstract = not isinstance(array, Tracer), isinstance(array, jax.ShapeDtypeStruct)
    # Asking a tracer for what it lacks composes a long message each time.
    sharding: Any = getattr(array, "sharding", None) if concrete else None
    own = None if abstract else jax.typeof(array).sharding.mesh
    ambient = jax.sharding.get_abstract_mesh()
    spec = leaf.spec if spec is None else spec
    if isinstance(spec, NamedSharding):
        mesh, spec = mesh or spec.mesh, spec.spec
    # Inside a map types tell along which axes a value varies, but not which dimension they shard.
    if bound_axes():
        return _inside(array, leaf if spec is None else dataclasses.replace(leaf, spec=spec), path, ambient)
    # The type of an array on an Explicit mesh cannot be wrong, so it comes before what was given by hand. Axes of
    # length one stand in types too, though they shard nothing.
    if axes_of_type(own, AxisType.Explicit, longer_than=0):
        return _typed(array, own, sharding.spec if isinstance(sharding, NamedSharding) else spec, path)
    if concrete and isinstance(sharding, NamedSharding):
        mesh, spec = sharding.mesh, sharding.spec
    # An array on one device, of which no other device has a part.
    elif concrete and not abstract:
        return Layout()
    mesh = next((found for found in (mesh, own, ambient) if found is not None and not found.empty), None)
    if mesh is None:
        return Layout()
    if spec is None:
        return Layout(mesh)
    require_axes(path, spec, mesh)
    dims = spec_dims(spec, array.shape, mesh, path)
    return Layout(mesh, dims, spec=_as_spec(dims))


def spec_dims(spec: PartitionSpec, shape: Sequence[int], mesh: Any, path: str = "") -> Dims:
    """Give the mesh axes of every dimension of an array of ``shape``.

    Axes of length one shard nothing, and neither do those whose product does not divide the length.
    """
    sizes = dict(mesh.shape)
    dims = [tuple(name for name in dim if sizes.get(name, 1) > 1) for dim in entries(spec, len(shape), path)]
    return tuple(
        () if length % math.prod(sizes[name] for name in dim) else dim for dim, length in zip(dims, shape, strict=True)
    )


def require_axes(path: str, spec: PartitionSpec, mesh: Any) -> None:
    """Raise where a spec names an axis that the mesh lacks; a name of a model's own needs rules to become one."""
    for name in jax.tree.leaves(tuple(spec)):
        # JAX would say that the axis is not found, but not in which parameter.
        if isinstance(name, str) and name not in mesh.axis_names:
            raise ValueError(
                f"{path}: its spec {spec} names the axis {name!r}, and the mesh has {', '.join(mesh.axis_names)}; "
                "logical names of Flax need rules when the leaves are read (flax.linen.logical_axis_rules)"
            )


def axes_of_type(mesh: Any, kind: AxisType, longer_than: int = 1) -> tuple[str, ...]:
    """Names of the mesh's axes of the given type, those that divide anything; an empty mesh has none."""
    if mesh is None or mesh.empty:
        return ()
    names = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, axis_type in names if axis_type == kind and mesh.shape[name] > longer_than)


def sizes_of(mesh: Any) -> Mapping[str, int]:
    """Length of every mesh axis, by name."""
    return dict(mesh.shape)


def _typed(array: Any, mesh: Any, spec: Any, path: str) -> Layout:
    """Find the layout of an array whose type says how the Explicit axes shard it; Auto ones only a spec can tell.

    An Auto axis of which no spec speaks counts as one of replicas. The partitioner then makes the array whole along it
    first, but the work is divided among its devices too and it has no say in what is computed: where it had, it put
    collectives into branches that devices choose differently, which then wait for one another for ever.
    """
    known = entries(jax.typeof(array).sharding.spec, array.ndim)
    named = _with_auto(known, spec, array.shape, mesh, path)
    dims = spec_dims(_as_spec(named), array.shape, mesh)
    # Nothing is known of it at all where there are Auto axes that may shard it.
    if not any(named) and spec is None and axes_of_type(mesh, AxisType.Auto):
        return Layout(mesh)
    return Layout(mesh, dims, spec=_as_spec(named))


def _inside(array: Any, leaf: Leaf, path: str, mesh: Any) -> Layout:
    """Find the layout of a shard inside the caller's own `jax.shard_map`, where only a spec can tell it."""
    require_specs({path: array}, {path: leaf})
    if leaf.spec is None:
        return Layout()
    view = shard_view(array.shape, leaf)
    # The caller's map cuts first: what other axes do, they do within a shard. Axes of length one cut nothing.
    cut = [tuple(name for name in dim if view.sizes[name] > 1) for dim in view.dims]
    named = _with_auto(entries(jax.typeof(array).sharding.spec, array.ndim), leaf.spec, array.shape, mesh, path)
    rest = spec_dims(_as_spec(named), array.shape, mesh)
    dims = tuple(outer + inner for outer, inner in zip(cut, rest, strict=True))
    return Layout(mesh, dims, tuple(view.sizes), _as_spec(named))


def _with_auto(
    known: Sequence[tuple[str, ...]], spec: Any, shape: Sequence[int], mesh: Any, path: str
) -> list[tuple[str, ...]]:
    """Add the Auto axes of a spec given by hand to the axes that an array's type names, where they divide it."""
    auto = axes_of_type(mesh, AxisType.Auto)
    by_hand = entries(PartitionSpec() if spec is None else spec, len(shape), path)
    merged = []
    for names, hand, length in zip(known, by_hand, shape, strict=True):
        more = tuple(name for name in hand if name in auto)
        # In the order of the spec where it agrees with the type.
        both = hand if tuple(n for n in hand if n not in more) == names else names + more
        merged.append(both if length % math.prod(mesh.shape[name] for name in both) == 0 else names)
    return merged


def _as_spec(dims: Sequence[tuple[str, ...]]) -> PartitionSpec:
    """Write the axes of every dimension as JAX does."""
    return PartitionSpec(*(dim or None for dim in dims))
