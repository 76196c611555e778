"""Matrices brought to a size at which nothing over- or underflows, and lengths with a derivative everywhere."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype

Axes = int | tuple[int, ...]
MATRIX = (-2, -1)


def divide_by_largest_entry(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
    """Bring the largest entry of every matrix to 1, in float32 or wider; zero stays zero, NaN and Inf give NaN."""
    x = x.astype(accumulator_dtype(x.dtype))
    # No epsilon: it would bias every gradient of its own size, and 1e-30 must come out like 1.
    return quotient(x, one_if_zero(largest_entry(x)))


def largest_entry(x: Array, axis: Axes = MATRIX) -> Array:
    """Largest size of an entry along axes, which stay with size 1."""
    return jnp.max(jnp.abs(x), axis=axis, keepdims=True)


def to_unit_exponent(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
    """Bring the largest entry of every float32 or bfloat16 matrix to [256, 512) by a power of two.

    Multiplication is exact, so that it commutes with rounding. NaN and Inf give NaN.
    """
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True)).astype(jnp.float32)
    exponent = jax.lax.bitcast_convert_type(largest, jnp.uint32) >> 23
    # 127 is the exponent of 1. Up to 2^8 and not to 1, for the reciprocal of the largest number is none.
    power = jax.lax.bitcast_convert_type(jnp.minimum(127 + 8 + 127 - exponent, 254) << 23, jnp.float32)
    return x * jnp.where(jnp.isfinite(largest), power, jnp.nan).astype(x.dtype)


def sum_of_squares(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch 1 1"]:
    """Square of the Frobenius norm."""
    return jnp.sum(jnp.real(x * jnp.conj(x)), axis=MATRIX, keepdims=True)


def one_if_zero(norm: Array) -> Array:
    """Make a norm safe to divide by: a zero matrix stays zero, and NaN stays NaN."""
    return jnp.where(norm == 0, 1, norm)


def quotient(x: Array, size: Array) -> Array:
    """Divide by a positive size, whatever it is."""
    # Compilers multiply by the reciprocal, which is subnormal for a size above 2^126, and flushed to zero.
    shrink = jnp.where(size > 1, 2.0**-8, 1.0).astype(size.dtype)
    return (x * shrink) / (size * shrink)


def square_root(x: Array) -> Array:
    """Take the square root; its derivative at zero is zero, where infinity times the zero of a square would be NaN."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def hypot(a: Array, b: Array) -> Array:
    """Return the root of ``a^2 + b^2``, with the derivative zero where both are zero."""
    zero = (a == 0) & (b == 0)
    return jnp.where(zero, 0, jnp.hypot(jnp.where(zero, 1, a), b))


def length(x: Array, axis: Axes = MATRIX) -> Array:
    """Return the Euclidean length along axes, which stay with size 1; no square under- or overflows."""
    scale = _scale(x, axis)
    return scale * _plain_length(quotient(x, scale), axis)


def unit_length(x: Array, axis: Axes = MATRIX) -> Array:
    """Divide by the Euclidean length along axes; zero stays zero, NaN and Inf give NaN."""
    x = quotient(x, _scale(x, axis))
    return x / one_if_zero(_plain_length(x, axis))


def _scale(x: Array, axis: Axes) -> Array:
    """Largest size along axes, which stay with size 1; 1 in place of zero and infinity."""
    # A length is the same in whatever unit it is measured, so the unit needs no derivative.
    largest = lax.stop_gradient(largest_entry(x, axis))
    # Dividing by Inf would turn the length of an infinite vector into NaN.
    return jnp.where((largest == 0) | jnp.isinf(largest), 1, largest)


def _plain_length(x: Array, axis: Axes) -> Array:
    """Euclidean length of entries of moderate size along axes, which stay with size 1."""
    return square_root(jnp.sum(jnp.real(x * jnp.conj(x)), axis=axis, keepdims=True))
