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


def cut_like(values: PyTree, x: Any) -> PyTree:
    """Cut new arrays (count, ...) as the type of a parameter says; only that of an Explicit mesh says anything."""
    sharding = jax.typeof(x).sharding
    mesh, spec = sharding.mesh, sharding.spec
    if mesh.empty or AxisType.Explicit not in mesh.axis_types:
        return values
    own = getattr(x, "sharding", None) if not isinstance(x, Tracer) else None

    def cut(value: Any) -> Any:
        """Cut one array, which is on one device where nothing is traced."""
        part = cut_spec(value.shape, spec, x.shape, dict(mesh.shape))
        if own is not None:
            return jax.device_put(value, NamedSharding(own.mesh, part))
        return jax.sharding.reshard(value, NamedSharding(mesh, part)) if any(part) else value

    return jax.tree.map(cut, values)
