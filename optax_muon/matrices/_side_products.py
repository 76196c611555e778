"""Products of parameters along one side of their matrices, where they are sharded: two factors that share a rank.

Nothing of a factor's own size is transposed or gathered: what travels is as large as the side that is kept, which for
an adapter is its rank.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from optax_muon.linalg import FLOAT32
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf, matrix_shapes
from optax_muon.matrices._reductions import axes_over, norm_over, unit_over
from optax_muon.matrices._shard_view import gathered, shard_view

OneSide = Literal["reduction", "output"]
OTHER: dict[OneSide, OneSide] = {"reduction": "output", "output": "reduction"}


def side_length(shape: tuple[int, ...], leaf: Leaf, side: OneSide) -> int:
    """Return the length of one side of the matrices of a whole parameter."""
    _, reduction, output = matrix_shapes(shard_view(shape, leaf).shape, dataclasses.replace(leaf, split=None))[0]
    return {"reduction": reduction, "output": output}[side]


def inner_products(x: Array, y: Array, leaf: Leaf, side: OneSide) -> Float[Array, "*batch r r"]:
    """Multiply the vectors of ``x`` with those of ``y``, one for each place on a side, summed over the other side.

    Both are arrays of one parameter's shape; pieces of a split count as one matrix. The result is in float32 or wider,
    and on a mesh every device has the whole of it.
    """
    leaf = _positive(leaf, x.ndim)
    batch, kept = leaf.batch(x.ndim), axes_over(leaf, side)
    first = list(range(x.ndim))
    second = [x.ndim + axis if axis in kept else axis for axis in first]
    out = [*batch, *kept, *(x.ndim + axis for axis in kept)]
    a, b = (_whole_side(z, leaf, side) for z in (x, y))
    product = _einsum(a, first, b, second, out, _replicated(a, len(out)))
    across = shard_view(x.shape, leaf).axes(axes_over(leaf, OTHER[side]))
    product = lax.psum(product, across) if across else product
    length = side_length(x.shape, leaf, side)
    return product.reshape(*product.shape[: len(batch)], length, length)


def unit_gram(x: Array, leaf: Leaf, side: OneSide) -> tuple[Float[Array, "*batch r r"], Float[Array, "*batch 1 1"]]:
    """Multiply the vectors of a side with each other in units of the whole matrix's norm; give that norm too.

    Squares of float32 overflow above 1e19 and vanish below 1e-23; the norm does not. Both are zero for zeros.
    """
    leaf = _positive(leaf, x.ndim)
    unit, norm = unit_over(x, leaf), norm_over(x, leaf)
    norm = norm.reshape(*(x.shape[axis] for axis in leaf.batch(x.ndim)), 1, 1)
    whole = _replicated(norm, norm.ndim)
    return inner_products(unit, unit, leaf, side), norm if whole is None else jax.sharding.reshard(norm, whole)


def times(x: Array, leaf: Leaf, side: OneSide, p: Float[Array, "*batch r r"]) -> Array:
    """Multiply every matrix by one of its own along a side: ``x p`` for the output, ``p^T x`` for the reduction.

    The result has the shape and sharding of ``x``, and float32 or wider.
    """
    leaf = _positive(leaf, x.ndim)
    batch, kept = leaf.batch(x.ndim), axes_over(leaf, side)
    first = list(range(x.ndim))
    out = [x.ndim + axis if axis in kept else axis for axis in first]
    whole = _whole_side(x, leaf, side)
    lengths = [whole.shape[axis] for axis in kept]
    square = p.reshape(*p.shape[: len(batch)], *lengths, *lengths).astype(accumulator_dtype(x.dtype))
    sharding = jax.typeof(x).sharding
    if any(sharding.spec):
        spec = PartitionSpec(*(sharding.spec[axis] for axis in batch))
        square = jax.sharding.reshard(square, NamedSharding(sharding.mesh, spec))
    places = [*batch, *kept, *(x.ndim + axis for axis in kept)]
    product = _einsum(whole, first, square, places, out, sharding if any(sharding.spec) else None)
    view = shard_view(x.shape, leaf)
    return view._replace(dims=tuple(d if i in kept else () for i, d in enumerate(view.dims))).local(product)


def to_broadcast(x: Float[Array, "*batch 1 1"], ndim: int, leaf: Leaf) -> Array:
    """Give a number of every matrix the shape in which it broadcasts against a parameter of rank ``ndim``."""
    numbers = iter(x.shape)
    batch = leaf.batch(ndim)
    return x.reshape([next(numbers) if axis in batch else 1 for axis in range(ndim)])


def _einsum(a: Array, first: list[int], b: Array, second: list[int], out: list[int], sharding: Any) -> Array:
    wide = jnp.promote_types(accumulator_dtype(a.dtype), accumulator_dtype(b.dtype))
    return jnp.einsum(
        a.astype(wide), first, b.astype(wide), second, out, precision=FLOAT32.precision, out_sharding=sharding
    )


def _replicated(x: Array, ndim: int) -> Any:
    """Give the sharding of what every device is to have whole, where types tell shardings."""
    sharding = jax.typeof(x).sharding
    return NamedSharding(sharding.mesh, PartitionSpec(*[None] * ndim)) if any(sharding.spec) else None


def _whole_side(x: Array, leaf: Leaf, side: OneSide) -> Array:
    """Collect a side that the caller's own map has cut: a rank, so that little travels."""
    view = shard_view(x.shape, leaf)
    for axis in axes_over(leaf, side):
        if view.dims[axis]:
            x = gathered(x, view.dims[axis], axis=axis, tiled=True)
    return x


def _positive(leaf: Leaf, ndim: int) -> Leaf:
    """Count a leaf's axes from the front, and take pieces of a split together."""
    sides = ([axis % ndim for axis in axes] for axes in (leaf.reduction, leaf.output))
    return Leaf(leaf.role, *sides, spec=leaf.spec)
