"""Sums and norms of every matrix of a parameter in its own axes, and small states beside them.

Nothing is transposed or reshaped, so a sharded parameter pays one small reduction and no exchange. Inside
`jax.shard_map` an array is a shard (`ShardView`), and what is reduced, counted or measured is the whole matrix.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon._numbers import is_known
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import one_if_zero, quotient, square_root
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._shard_view import shard_view, vary, varying_axes
from optax_muon.shapes import ShapeScale

Side = Literal["reduction", "output", "both"]


def axes_over(leaf: Leaf, over: Side) -> tuple[int, ...]:
    """Return the axes of one side of the matrices, or of both."""
    return {"reduction": leaf.reduction, "output": leaf.output, "both": leaf.reduction + leaf.output}[over]


def sum_over(x: Array, leaf: Leaf, over: Side = "both") -> Array:
    """Sum every matrix over a side, in float32 or wider; the result broadcasts against ``x``."""
    return _reduce(jnp.sum, lax.psum, x.astype(accumulator_dtype(x.dtype)), leaf, over)


def norm_over(x: Array, leaf: Leaf, over: Side = "both") -> Array:
    """Return the Euclidean norm of every matrix over a side, in float32 or wider, whatever its scale.

    ``over="reduction"`` measures each output's own vector, ``over="output"`` each input's, ``"both"`` is the Frobenius
    norm.
    """
    _, unit, norm = _measured(x, leaf, over)
    return unit * norm


def unit_over(x: Array, leaf: Leaf, over: Side = "both") -> Array:
    """Divide every matrix by its `norm_over`, even one beyond the largest number; zero stays zero.

    The result is in float32 or wider.
    """
    scaled, _, norm = _measured(x, leaf, over)
    return scaled / one_if_zero(norm)


def _measured(x: Array, leaf: Leaf, over: Side) -> tuple[Array, Array, Array]:
    """Return ``x`` in units of its largest entries, these units, 1 in place of zero, and the norm in them."""
    wide = x.astype(accumulator_dtype(x.dtype))
    # A norm is the same in whatever unit it is measured: that needs no derivative, and a maximum over devices has none.
    size = lax.stop_gradient(jnp.abs(wide))
    largest = _reduce(jnp.max, lax.pmax, size, leaf, over) if x.size else jnp.zeros((1,) * x.ndim, size.dtype)
    unit = one_if_zero(largest)
    # Divided first: squares of float32 overflow above 1e19 and vanish below 1e-23.
    scaled = quotient(wide, unit)
    return scaled, unit, square_root(_reduce(jnp.sum, lax.psum, jnp.square(jnp.abs(scaled)), leaf, over))


def entries_over(shape: tuple[int, ...], leaf: Leaf, over: Side = "both") -> np.ndarray | Array:
    """Count the entries that `sum_over` sums, an array that broadcasts against a parameter of ``shape``."""
    view = shard_view(shape, leaf)
    return view.local(_entries(view.shape, leaf, over))


def factors_over(scale: ShapeScale, shape: tuple[int, ...], leaf: Leaf) -> np.ndarray | Array:
    """Return the factor of every matrix's shape, an array that broadcasts against a parameter of ``shape``."""
    view = shard_view(shape, leaf)
    fan_in, fan_out = _entries(view.shape, leaf, "reduction"), _entries(view.shape, leaf, "output")
    # NumPy on static shapes: the factors are constants of the program, and pieces of a split may differ.
    factors = np.vectorize(lambda m, n: scale.factor(int(m), int(n)), otypes=[object])(fan_in, fan_out)
    if all(map(is_known, factors.flat)):
        return view.local(factors.astype(float))
    return view.local(jnp.stack([jnp.asarray(x, float) for x in factors.flat]).reshape(factors.shape))


def reduced_shape(shape: tuple[int, ...], leaf: Leaf, over: Side = "both") -> tuple[int, ...]:
    """Return the shape of what `sum_over` returns for a parameter of ``shape``."""
    gone = {axis % len(shape) for axis in axes_over(leaf, over)}
    if _is_cut(leaf, over):
        # A cut side keeps its length: every entry holds its own piece's sum, so it broadcasts without a gather.
        gone -= {axis % len(shape) for axis in axes_over(leaf, leaf.split.side)}  # pyright: ignore[reportOptionalMemberAccess]
    return tuple(1 if axis in gone else length for axis, length in enumerate(shape))


def reduced_like(x: Array, leaf: Leaf, over: Side = "both", *, fill: float = 0.0, dtype: Any = None) -> Array:
    """Make a state of the shape, sharding and differences between devices of `sum_over`, filled; None: of its dtype."""
    full = jnp.full(reduced_shape(x.shape, leaf, over), fill, accumulator_dtype(x.dtype) if dtype is None else dtype)
    gone = [axis % x.ndim for axis in axes_over(leaf, over)]
    if _is_cut(leaf, over):  # its side is kept, each piece with its own sum
        kept = [axis % x.ndim for axis in axes_over(leaf, leaf.split.side)]  # pyright: ignore[reportOptionalMemberAccess]
        gone = [axis for axis in gone if axis not in kept]
    full = vary(full, varying_axes(x) - set(shard_view(x.shape, leaf).axes(gone)))
    return _sharded_like(full, x)


def _sharded_like(reduced: Array, x: Array) -> Array:
    """Shard what was reduced of ``x`` as its type says that ``x`` is, on the axes that are left."""
    # A state must keep its type from the start, and so must what becomes its next value.
    sharding = jax.typeof(x).sharding
    kept = [entry if n > 1 else None for entry, n in zip(sharding.spec, reduced.shape, strict=False)]
    if not any(kept):
        return reduced
    spec = jax.sharding.PartitionSpec(*kept)
    return jax.sharding.reshard(reduced, jax.sharding.NamedSharding(sharding.mesh, spec))


def map_with_state(
    f: Callable[..., tuple[Array, Any]], updates: PyTree, leaves: Mapping[str, Leaf], state: PyTree, *others: PyTree
) -> tuple[PyTree, PyTree]:
    """Map ``f(x, leaf, state, *others) -> (x, state)``, where states are entries of a dictionary by path."""
    tables = [by_path(tree) for tree in others]
    done = {
        path: f(x, leaves[path], state[path], *(table[path] for table in tables))
        for path, x in by_path(updates).items()
    }
    updates = map_by_path(lambda path, x, result: result[0], updates, done)
    return updates, {path: result[1] for path, result in done.items()} if done else state


def init_state(f: Callable[[Array, Leaf], Any], params: PyTree, leaves: Mapping[str, Leaf]) -> PyTree:
    """Make the state ``{path: f(x, leaf)}``.

    Without parameters one leaf stands for the state: `optax.tree.map_params`, which asks with an empty tree to see
    where parameters are, then takes the dictionary for one thing that is none, whatever it holds.
    """
    arrays = by_path(params)
    return {path: f(x, leaves[path]) for path, x in arrays.items()} if arrays else jnp.zeros([], jnp.int32)


def _reduce(f: Callable[..., Array], across: Callable[..., Array], x: Array, leaf: Leaf, over: Side) -> Array:
    """Reduce every matrix over a side, axes kept with size 1, or with their own length where the side is cut.

    ``across`` does between devices what ``f`` does on one.
    """
    axes, view = axes_over(leaf, over), shard_view(x.shape, leaf)
    names = view.axes(axes)

    def whole(x: Array) -> Array:
        """Reduce over this device's part, and over those that hold the rest of the matrices."""
        part = f(x, axis=axes, keepdims=True)
        return across(part, names) if names else part

    if not _is_cut(leaf, over):
        return whole(x)
    total = jnp.zeros(reduced_shape(x.shape, leaf, over), x.dtype)
    for mask in _pieces(view.shape, leaf):
        mine = view.local(mask)
        # A choice and not a product: NaN times zero would carry one matrix's NaN into its neighbour.
        total = jnp.where(mine, whole(jnp.where(mine, x, 0)), total)
    return _sharded_like(total, x)


def _entries(shape: tuple[int, ...], leaf: Leaf, over: Side) -> np.ndarray:
    """Count what is reduced of whole parameters of ``shape``."""
    axes = [axis % len(shape) for axis in axes_over(leaf, over)]
    if not _is_cut(leaf, over):
        return np.full((1,) * len(shape), math.prod(shape[axis] for axis in axes))
    side = [axis % len(shape) for axis in axes_over(leaf, leaf.split.side)]  # pyright: ignore[reportOptionalMemberAccess]
    others = math.prod(shape[axis] for axis in axes if axis not in side)
    return sum(mask * (int(mask.sum()) * others) for mask in _pieces(shape, leaf))  # pyright: ignore[reportReturnType]


def _is_cut(leaf: Leaf, over: Side) -> bool:
    """Tell whether the leaf's split cuts a side that is reduced over."""
    return leaf.split is not None and over in (leaf.split.side, "both")


def _pieces(shape: tuple[int, ...], leaf: Leaf) -> Iterator[np.ndarray]:
    """Yield masks of the matrices that stand side by side, each broadcastable against the parameter."""
    assert leaf.split is not None
    axes = [axis % len(shape) for axis in axes_over(leaf, leaf.split.side)]
    place = np.arange(math.prod(shape[axis] for axis in axes)).reshape([shape[axis] for axis in axes])
    place = np.transpose(place, np.argsort(axes))  # the flattened side runs through its axes in the leaf's order
    place = place.reshape([length if axis in axes else 1 for axis, length in enumerate(shape)])
    start = 0
    for size in leaf.split.sizes:
        yield (place >= start) & (place < start + size)
        start += size
