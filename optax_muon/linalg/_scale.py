"""Matrices brought to a size at which nothing over- or underflows."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype


def divide_by_largest_entry(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
    """Bring the largest entry of every matrix to 1, in float32 or wider; zero stays zero, NaN and Inf give NaN."""
    x = x.astype(accumulator_dtype(x.dtype))
    # No epsilon: it would bias every gradient of its own size, and 1e-30 must come out like 1.
    return x / one_if_zero(jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True))


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
    return jnp.sum(jnp.real(x * jnp.conj(x)), axis=(-2, -1), keepdims=True)


def one_if_zero(norm: Array) -> Array:
    """Make a norm safe to divide by: a zero matrix stays zero, and NaN stays NaN."""
    return jnp.where(norm == 0, 1, norm)
