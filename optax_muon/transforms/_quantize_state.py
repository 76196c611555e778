"""Momentum kept in eight bits."""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType
from jaxtyping import Array, PyTree

from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.transforms._linear_states import LINEAR, map_fields

LEVELS = 127
# Numbers this far below the largest one have a reciprocal that is no subnormal, which processors flush to zero.
ROOM = 2.0**-8


class QuantizedState(NamedTuple):
    """State of `quantize_state`.

    Attributes:
        count: updates so far, int32 scalar; the rounding's random numbers follow from it.
        scales: for every quantized field, path -> the largest entry of each vector, with a last axis of length one.
        inner: the inner state, in which sums of gradients are int8.
    """

    count: Any
    scales: tuple[PyTree, ...]
    inner: optax.OptState


def quantize_state(
    inner: optax.GradientTransformation,
    bits: int = 8,
    *,
    fields: Mapping[type, str] = LINEAR,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Keep an optimizer's momentum in eight bits between updates.

    Use it around a whole optimizer where its state is what does not fit: a float32 momentum takes a quarter.

    .. math::
        q = \lfloor 127 \, m / s + u \rfloor, \qquad s = \max |m| \text{ along the last axis}, \qquad u \sim U[0, 1)

    A momentum moves by a small share of itself at each step, which rounding to the nearest level would lose for ever;
    random rounding keeps it on average. Only sums of gradients are quantized: a second moment spans too many sizes for
    128 even levels, and stays as it is, and so do scalars and complex numbers. Levels have the parameter's shape and
    are sharded like it; one scale serves each vector along the last axis.

    Args:
        inner: any optimizer.
        bits: 8.
        fields: state type -> field, of the states that are sums of gradients.
        seed: of the rounding.

    State: 1 byte in place of every float of a sum of gradients, and one float for every vector along the last axis.

    Raises:
        ValueError: for other bits, or by ``init`` where the inner state has no sum of gradients.

    References:
        Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv 2110.02861; Gupta et al., arXiv 1502.02551
        (stochastic rounding).

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> tx = om.transforms.quantize_state(optax.trace(0.9))
        >>> tx.init({"w": jnp.zeros((2, 3))}).inner.trace["w"].dtype.name
        'int8'
    """
    if bits != 8:
        raise ValueError(f"quantize_state: bits must be 8, not {bits}")
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        state, count = inner.init(params), jnp.zeros([], jnp.int32)
        kept, scales = _quantized(state, fields, jax.random.key(seed))
        # An empty group of a partition has nothing to quantize, and is no error.
        if not scales and jax.tree.leaves(params):
            known = ", ".join(sorted(kind.__name__ for kind in fields))
            raise ValueError(
                f"quantize_state: no sum of gradients was found in the inner state; fields= names where it is. Known: "
                f"{known}"
            )
        return QuantizedState(count, scales, kept)

    def update_fn(updates, state, params=None, **extra_args):
        """Restore the momentum, let the inner optimizer move, and round what it keeps."""
        updates, after = inner.update(updates, _restored(state, fields), params, **extra_args)
        key = jax.random.fold_in(jax.random.key(seed), state.count)
        kept, scales = _quantized(after, fields, key)
        return updates, QuantizedState(optax.safe_increment(state.count), scales, kept)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _quantized(state: optax.OptState, fields: Mapping[type, str], key: Array) -> tuple[optax.OptState, tuple]:
    """Round the named fields, and give their scales in the order in which the fields are found."""
    found = []

    def field(tree: PyTree) -> PyTree:
        """Round one tree."""
        arrays = {path: x for path, x in by_path(tree).items() if _serves(x)}
        scales = {path: jnp.max(jnp.abs(x), axis=-1, keepdims=True) for path, x in arrays.items()}
        one = jax.random.fold_in(key, len(found))
        # Without parameters one leaf stands for the state: see `Lift.init`.
        found.append(scales if by_path(tree) else jnp.zeros([], jnp.int32))
        levels = {path: _levels(x, scales[path], _key_of(one, path)) for path, x in arrays.items()}
        return map_by_path(lambda path, x: levels.get(path, x), tree)

    kept = map_fields(field, state, fields)
    return kept, tuple(found)


def _restored(state: QuantizedState, fields: Mapping[type, str]) -> optax.OptState:
    """Give the inner state with its sums of gradients as floats."""
    scales = iter(state.scales)

    def field(tree: PyTree) -> PyTree:
        """Restore one tree."""
        table = next(scales)
        if not by_path(tree):
            return tree
        return map_by_path(lambda path, q: _values(q, table[path]) if path in table else q, tree)

    return map_fields(field, state.inner, fields)


def _serves(x: Array) -> bool:
    """Tell whether an array is quantized."""
    return x.ndim > 0 and x.size > 0 and jnp.issubdtype(x.dtype, jnp.floating)


def _levels(x: Array, scale: Array, key: Array) -> Array:
    """Round ``x``, at most ``scale``, to int8 at random, so that the mean over keys is ``x``."""
    share = x * ROOM / jnp.where(scale == 0, 1, scale * ROOM)
    draws = jax.random.uniform(key, x.shape, jnp.float32, out_sharding=_sharding(x))
    return jnp.clip(jnp.floor(LEVELS * share.astype(jnp.float32) + draws), -LEVELS, LEVELS).astype(jnp.int8)


def _values(levels: Array, scale: Array) -> Array:
    """Undo `_levels`; a vector with a NaN is NaN."""
    return (levels.astype(jnp.float32) / LEVELS).astype(scale.dtype) * scale


def _sharding(x: Array) -> Any:
    """Give the sharding that a new array needs to meet ``x``: none but on a mesh of Explicit axes."""
    sharding = jax.typeof(x).sharding
    return sharding if AxisType.Explicit in sharding.mesh.axis_types else None


def _key_of(key: Array, path: str) -> Array:
    """Give a parameter its own key, whatever stands beside it."""
    return jax.random.fold_in(key, zlib.crc32(path.encode()))
