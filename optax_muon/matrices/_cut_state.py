"""How the state of matrices is cut over a mesh, so that it does not grow with the number of devices."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import PyTree


def cut_spec(
    shape: Sequence[int], spec: PartitionSpec, whole: Sequence[int], sizes: Mapping[str, int]
) -> PartitionSpec:
    """Say how an array (count, ...) that belongs to a parameter's matrices is cut, such as a Kronecker factor.

    It is cut over the axes that shard the parameter: along the matrices, where the parameter is sharded over its first
    axis alone and has so many, else along the last axis that they divide; over fewer where none is. Numbers and vectors
    of a matrix stay whole: they are small, and every device looks at them.

    Args:
        shape: of the array; its first axis counts matrices.
        spec: the parameter's.
        whole: the parameter's shape.
        sizes: length of every mesh axis.
    """
    entries = [(e,) if isinstance(e, str) else tuple(e or ()) for e in spec]
    dims = [tuple(name for name in entry if sizes[name] > 1) for entry in entries]
    names = [name for name in sizes if any(name in dim for dim in dims)]
    if len(shape) < 3 or not names:
        return PartitionSpec()
    if len(whole) > 2 and dims[0] and not any(dims[1:]) and shape[0] % whole[0] == 0:
        return PartitionSpec(dims[0])
    # The most pieces first; a mesh has few axes.
    some = [c for n in range(len(names), 0, -1) for c in itertools.combinations(names, n)]
    for chosen in sorted(some, key=lambda c: -math.prod(sizes[name] for name in c)):
        for axis in range(len(shape) - 1, 0, -1):
            if shape[axis] and shape[axis] % math.prod(sizes[name] for name in chosen) == 0:
                return PartitionSpec(*[None] * axis, chosen)
    return PartitionSpec()


def cut_like(values: PyTree, x: Any, by_hand: Any = None) -> PyTree:
    """Cut new arrays (count, ...) as their parameter is cut, as far as anything here says.

    Args:
        values: the arrays, each on one device where nothing is traced.
        x: the parameter: its type on an Explicit mesh, its own sharding where it is not traced.
        by_hand: its leaf's spec, which tells on an Auto mesh in sight.
    """
    kind, own = jax.typeof(x).sharding, None if isinstance(x, Tracer) else getattr(x, "sharding", None)
    if isinstance(own, NamedSharding):
        return jax.tree.map(lambda v: jax.device_put(v, _cut_sharding(v, own.spec, x, own.mesh)), values)
    if has_explicit(kind.mesh):
        given = jax.tree.map(lambda v: _cut_sharding(v, kind.spec, x, kind.mesh), values)
        return jax.tree.map(lambda v, s: jax.sharding.reshard(v, s) if any(s.spec) else v, values, given)
    mesh = by_hand.mesh if isinstance(by_hand, NamedSharding) else jax.sharding.get_abstract_mesh()
    spec = by_hand.spec if isinstance(by_hand, NamedSharding) else by_hand
    if mesh.empty or spec is None or not set(jax.tree.leaves(tuple(spec))) <= set(mesh.axis_names):
        return values
    lay = jax.lax.with_sharding_constraint
    return jax.tree.map(lambda v: lay(v, _cut_sharding(v, spec, x, mesh)), values)


def known_axes(spec: PartitionSpec, mesh: Any) -> PartitionSpec:
    """Leave of a spec what types tell where a mesh has Explicit axes; of an Auto mesh, all."""
    explicit = [name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Explicit]
    kept = explicit or mesh.axis_names
    entries = [(e,) if isinstance(e, str) else tuple(e or ()) for e in spec]
    return PartitionSpec(*(tuple(name for name in entry if name in kept) or None for entry in entries))


def has_explicit(mesh: Any) -> bool:
    """Tell whether the types of a mesh's arrays say how they are sharded."""
    return not mesh.empty and AxisType.Explicit in mesh.axis_types


def _cut_sharding(value: Any, spec: PartitionSpec, x: Any, mesh: Any) -> NamedSharding:
    """Say how an array of a parameter's matrices is cut."""
    return NamedSharding(mesh, cut_spec(value.shape, known_axes(spec, mesh), x.shape, dict(mesh.shape)))
