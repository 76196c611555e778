"""What code inside `jax.shard_map` or `jax.pmap` sees of a parameter: a shard, and the whole that it is a part of.

Every size, sum and norm of a matrix there is the whole matrix's, and this is where it learns of the whole.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jaxtyping import Array, PyTree

from optax_muon.matrices._leaf import Leaf


class ShardView(NamedTuple):
    """A parameter as one device of the axes that are bound here has it.

    Attributes:
        shape: of the whole parameter.
        dims: for each dimension the bound axes that cut it, major first; none outside of a map.
        sizes: length of every bound axis.
    """

    shape: tuple[int, ...]
    dims: tuple[tuple[str, ...], ...]
    sizes: Mapping[str, int]

    def axes(self, dims: Iterable[int]) -> tuple[str, ...]:
        """Give the bound axes that cut some dimensions, which may be counted from the end."""
        return tuple(name for dim in dims for name in self.dims[dim])

    def local(self, x: Any) -> Any:
        """Take this device's part of an array that broadcasts against the whole parameter."""
        for dim, names in enumerate(self.dims):
            parts = math.prod(self.sizes[name] for name in names)
            # A dimension of length one stands for all of its side.
            if parts > 1 and x.shape[dim] > 1:
                length = x.shape[dim] // parts
                x = lax.dynamic_slice_in_dim(x, lax.axis_index(names) * length, length, dim)
        return x


def shard_view(shape: Sequence[int], leaf: Leaf, path: str = "") -> ShardView:
    """Give the view of an array of local ``shape``; outside of a map the array is the whole parameter."""
    sizes = bound_axes()
    dims = entries(leaf.spec, len(shape), path) if sizes and leaf.spec is not None else ((),) * len(shape)
    dims = tuple(tuple(name for name in dim if name in sizes) for dim in dims)
    whole = (n * math.prod(sizes[name] for name in dim) for n, dim in zip(shape, dims, strict=True))
    return ShardView(tuple(whole), dims, sizes)


def whole_shape(shape: Sequence[int], leaf: Leaf, path: str = "") -> tuple[int, ...]:
    """Give the shape of the whole parameter of which an array of local ``shape`` is a shard, or which it is."""
    return shard_view(shape, leaf, path).shape


def bound_axes() -> dict[str, int]:
    """Give the axes of a map around this code, `jax.shard_map` or `jax.pmap`, and their lengths."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return {}
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return {name: mesh.shape[name] for name, kind in kinds if kind == AxisType.Manual}


def entries(spec: Any, ndim: int, path: str = "") -> tuple[tuple[str, ...], ...]:
    """Give the mesh axes of every dimension of an array of rank ``ndim``, major first.

    Raises:
        ValueError: naming ``path``, for a spec that is longer than the rank.
    """
    spec = spec.spec if isinstance(spec, NamedSharding) else spec
    if len(spec) > ndim:
        raise ValueError(f"{path}: its spec {spec} has {len(spec)} entries, and the array has {ndim} dimensions")
    # A spec may be shorter than the rank; an entry may be None, a name, several names, or UNCONSTRAINED.
    given = [*spec, *[None] * (ndim - len(spec))]
    return tuple(() if not isinstance(e, str | tuple) else (e,) if isinstance(e, str) else tuple(e) for e in given)


def varying_axes(x: Any) -> frozenset[str]:
    """Give the bound axes along which an array is known to differ; none where `jax.shard_map` keeps no account."""
    kind = jax.typeof(x)  # each version of JAX says it under another name
    varying = getattr(getattr(kind, "manual_axis_type", kind), "varying", None)
    return frozenset(varying or getattr(kind, "vma", None) or ())


def vary(tree: PyTree, names: Iterable[str]) -> PyTree:
    """Let the account of `jax.shard_map` say that arrays differ along some axes; values stay."""
    wanted = set(names)

    def cast(x: Array) -> Array:
        missing = tuple(sorted(wanted - varying_axes(x)))
        return lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, tree) if wanted else tree


def gathered(x: Array, names: Sequence[str], *, axis: int = 0, tiled: bool = False) -> Array:
    """Collect an array from all devices of some axes, as `jax.lax.all_gather`; all then count as having the same."""
    known = set(names) <= varying_axes(x)
    return lax.all_gather(x, tuple(names), axis=axis, tiled=tiled, to="invarying" if known else "varying")


def require_specs(arrays: Mapping[str, Any], leaves: Mapping[str, Leaf]) -> None:
    """Raise where an array inside a map is a shard and nothing says of what; warn where it may be one.

    With ``check_vma`` the types tell along which axes an array differs. Without, and in `jax.pmap`, nothing does.

    Raises:
        ValueError: naming an array that differs along a bound axis and has no spec, or whose spec does not fit.
    """
    bound = {name: size for name, size in bound_axes().items() if size > 1}
    for path, leaf in leaves.items() if bound else ():
        if leaf.spec is not None:
            entries(leaf.spec, arrays[path].ndim, path)
        elif varying := varying_axes(arrays[path]) & bound.keys():
            names = ", ".join(repr(name) for name in sorted(varying))
            raise ValueError(
                f"{path}: inside jax.shard_map this array differs along the mesh axis {names}: it is a shard, and a "
                "matrix cannot be orthogonalised in pieces. Say how it is cut, Leaf(..., spec=PartitionSpec(...)), or "
                "spec=PartitionSpec() if every device holds a whole matrix of its own"
            )
    silent = [path for path, leaf in leaves.items() if leaf.spec is None] if bound else []
    # Where the account is kept, a device's own number differs along its axis.
    if silent and not varying_axes(lax.axis_index(next(iter(bound)))):
        warnings.warn(
            f"{silent[0]} (one of {len(silent)}): inside jax.pmap, or jax.shard_map without check_vma, nothing tells "
            f"whether this array is a shard along the axis {', '.join(map(repr, bound))}; it is taken for a whole "
            "matrix. Say so, Leaf(..., spec=PartitionSpec()), or how it is cut, spec=PartitionSpec(...)",
            stacklevel=2,
        )
