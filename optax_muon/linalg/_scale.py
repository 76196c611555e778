"""Matrices brought to a size at which nothing over- or underflows, and lengths with a derivative everywhere."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype

Axes = int | tuple[int, ...]
MATRIX = (-2, -1)
SUM_SHIFT = 32  # a sum of 2^32 terms of any size, each times 2^-32, is finite


def divide_by_largest_entry(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
    """Bring the largest entry of every matrix to 1, in float32 or wider; zero stays zero, NaN and Inf give NaN."""
    x = x.astype(accumulator_dtype(x.dtype))
    # No epsilon: it would bias every gradient of its own size, and 1e-30 must come out like 1.
    return quotient(x, one_if_zero(largest_entry(x)))


def largest_entry(x: Array, axis: Axes = MATRIX) -> Array:
    """Largest size of an entry along axes, which stay with size 1."""
    return jnp.max(jnp.abs(x), axis=axis, keepdims=True)


def in_middle_of_range(x: Float[Array, "*batch m n"], *, resident: bool) -> Float[Array, "*batch m n"]:
    """Multiply every bfloat16 matrix by a power of two, so that squares of its entries and their sum are in range.

    Multiplication is exact, so that it commutes with rounding. NaN and Inf give NaN.

    Args:
        x: the matrices, of at most 2^40 entries each.
        resident: they were bfloat16 before. Then a product reads them, which a TPU does in half the cycles of a
            maximum; of what is rounded just now a maximum is taken in the same pass, for nothing.
    """
    # Up to 2^8 and not to 1, for the reciprocal of the largest number is none. A sum may have 2^20 terms, of which the
    # largest is then 2^20 at least; it is taken of smaller numbers, and where these vanish 2^127 brings them to 2^33.
    target = 40 if resident else 8
    size = _largest_sum(x) if resident else largest_entry(x).astype(jnp.float32)
    size, shift = jax.lax.stop_gradient(size), SUM_SHIFT if resident else 0
    exponent = jax.lax.bitcast_convert_type(size, jnp.uint32) >> 23
    # 127 is the exponent of 1, and 254 the largest.
    power = jax.lax.bitcast_convert_type(jnp.minimum(254 + target - shift - exponent, 254) << 23, jnp.float32)
    return x * jnp.where(jnp.isfinite(size), power, jnp.nan).astype(x.dtype)


def _largest_sum(x: Array) -> Array:
    """Largest sum of sizes along the last axis, times a power of two that leaves it finite; axes stay with size 1."""
    # As many columns as a TPU's registers have, or its compiler would make a reduction of the product again.
    shares = jnp.full((x.shape[-1], 128), 2.0**-SUM_SHIFT, x.dtype)
    sums = jnp.matmul(jnp.abs(x), shares, precision=jax.lax.Precision.DEFAULT, preferred_element_type=jnp.float32)
    # XLA's newest kernel for a product and its maximum on a CPU (JAX 0.12.0) gives -inf; apart they are right.
    return jnp.max(jax.lax.optimization_barrier(sums), axis=MATRIX, keepdims=True)


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
