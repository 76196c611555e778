"""How the products of an iteration are carried out: precision is part of the algorithm."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from optax_muon.linalg._symmetric_product import halves, symmetric_product

# HIGHEST is full float32 everywhere. HIGH is TF32 on a GPU and three bfloat16 passes on a TPU.
_HIGH, _HIGHEST = jax.lax.Precision.HIGH, jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """Storage and precision of every matrix product, so that no platform's default decides.

    Use it to choose speed against accuracy of an iteration; `FLOAT32`, `FLOAT16` and `BFLOAT16` are the usual choices.
    A float32 product is one bfloat16 pass on a TPU and TF32 on a GPU unless a precision is named. Sums are always
    accumulated in float32 or wider.

    Args:
        storage: dtype in which matrices stand between products: bfloat16, float16, float32 or float64; None keeps the
            input's, widened to float32.
        precision: passed to every product.
        halve_symmetric: compute half of ``X X^T`` and of ``A A`` and mirror it, by a kernel, on a TPU or an NVIDIA
            GPU, where the shorter side is at least 1024 and both are multiples of 128. Off, since no device has
            measured it yet.

    Raises:
        ValueError: for another storage, or a precision that is no `jax.lax.Precision`.
        TypeError: from ``working_dtype``, for complex input with a named storage.
    """

    storage: Any = None
    precision: jax.lax.Precision = _HIGHEST
    halve_symmetric: bool = False

    def __post_init__(self):
        """Raise on a storage or precision in which no iteration was measured."""
        # Float8 keeps 3 or 4 bits: no published schedule survives that.
        allowed = ("bfloat16", "float16", "float32", "float64")
        if self._storage_name not in (None, *allowed):
            raise ValueError(f"Arithmetic: storage must be None or one of {', '.join(allowed)}, not {self.storage}")
        if not isinstance(self.precision, jax.lax.Precision):
            raise ValueError(f"Arithmetic: precision must be a jax.lax.Precision, not {self.precision!r}")

    @property
    def significand_bits(self) -> int | None:
        """Bits of a stored number that every platform's product keeps; None where a product drops stored bits unevenly.

        HIGH is TF32 on a GPU; DEFAULT rounds operands to bfloat16 on a TPU. Stored bfloat16 loses nothing anywhere.
        """
        if self._storage_name == "bfloat16":
            return 8
        # A TPU then multiplies float32 in one bfloat16 pass and a CPU in full: no one number holds for both.
        if self.precision == jax.lax.Precision.DEFAULT:
            return None
        # Float64 storage counts as 24: restarts that suit float32 suit it too, and its own rounding is smaller.
        return 11 if self.precision == _HIGH or self._storage_name == "float16" else 24

    @property
    def gram_rounding(self) -> float:
        """Rounding error of a stored Gram matrix, as a part of its norm.

        HIGH keeps it in float32 and rounds only the operands of products with it: 2^-17 is what TF32 was seen to do.
        """
        if self.precision == _HIGH and self._storage_name not in ("bfloat16", "float16"):
            return 2.0**-17
        bits = self.significand_bits or 8
        # Rounding errors of the entries are independent: together they have less than their size in any direction. Of
        # a narrow storage only the operands of products are rounded, which was seen to do a quarter of that.
        return 2.0 ** -(bits + (2 if bits >= 24 else 4))

    @property
    def _storage_name(self) -> str | None:
        """Name of the storage dtype, such as 'bfloat16', or None."""
        return None if self.storage is None else jnp.dtype(self.storage).name

    def working_dtype(self, dtype: Any) -> Any:
        """Dtype of the iterates for input of ``dtype``."""
        wide = accumulator_dtype(dtype)
        # None widens: an iteration on bfloat16 input without a named storage is a float32 iteration.
        if self.storage is None:
            return wide
        if jnp.issubdtype(wide, jnp.complexfloating):
            raise TypeError(f"Arithmetic: storage {jnp.dtype(self.storage).name} has no room for {wide}; leave it None")
        return jnp.dtype(self.storage)

    def matmul(self, a: Array, b: Array) -> Array:
        """Multiply, and leave the result in the accumulator's dtype."""
        # Both are named: without the second, bfloat16 operands give a result that was rounded to bfloat16 once more.
        return jnp.matmul(a, b, precision=self.precision, preferred_element_type=accumulator_dtype(a.dtype))

    def gram(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m m"]:
        """Multiply by the conjugate transpose, in the accumulator's dtype."""
        if self.halve_symmetric and halves(x):
            return symmetric_product(x, x, self.precision)
        return self.matmul(x, jnp.conj(x.mT))

    def commuting(self, a: Float[Array, "*batch m m"], b: Float[Array, "*batch m m"]) -> Float[Array, "*batch m m"]:
        """Multiply symmetric matrices that commute, so that the product is symmetric, in the accumulator's dtype."""
        if self.halve_symmetric and halves(a):
            return symmetric_product(a, b, self.precision)
        return self.matmul(a, b)


FLOAT32 = Arithmetic()
FLOAT16 = Arithmetic(storage=jnp.float16)
# DEFAULT is exact here: one bfloat16 pass loses nothing of bfloat16 operands.
BFLOAT16 = Arithmetic(storage=jnp.bfloat16, precision=jax.lax.Precision.DEFAULT)


def accumulator_dtype(dtype: Any) -> Any:
    """Widen float8, float16 and bfloat16 to float32; leave float32, float64 and complex as they are."""
    # By hand: JAX does not promote float8, and under strict promotion nothing. NumPy's float64 is float32 without x64.
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return dtype if jnp.issubdtype(dtype, jnp.inexact) and dtype.itemsize >= 4 else jnp.dtype(jnp.float32)


def squarable(x: Float[Array, "*batch m n"], power: float = 0.375) -> Float[Array, "*batch m n"]:
    """Scale down matrices whose Gram matrix would overflow; the others stay as they are, bit for bit.

    The largest entry is brought to a power of the largest number, below 1/2 to leave room for the terms of a sum: in
    float32 the power 3/8 leaves it for 4e9 terms, 7/16 for 6e4.
    """
    return _within(x, 0.0, float(jnp.finfo(x.dtype).max) ** power)


def of_squarable_size(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
    """Scale as `squarable`, and scale up matrices whose Gram matrix would vanish, where only directions matter."""
    return _within(squarable(x), float(jnp.finfo(x.dtype).tiny) ** 0.375, jnp.inf)


def of_one_squarable_size(*xs: Float[Array, "*batch m n"]) -> list[Float[Array, "*batch m n"]]:
    """Scale as `of_squarable_size`, all by what the largest of them needs, where their quotient is a result."""
    largest = functools.reduce(jnp.maximum, map(_largest, xs))
    limits = jnp.finfo(xs[0].dtype)
    factor = _factor(largest, float(limits.tiny) ** 0.375, float(limits.max) ** 0.375)
    return [x * factor.astype(x.dtype) for x in xs]


def summable(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
    """Scale down matrices whose products with an orthogonal one could overflow; the others stay, bit for bit."""
    return _within(x, 0.0, float(jnp.finfo(x.dtype).max) ** 0.875)


def _within(x: Array, low: float, high: float) -> Array:
    """Bring the largest entry of every matrix between two bounds; zero stays zero, NaN and Inf give NaN."""
    return x if x.size == 0 else x * _factor(_largest(x), low, high).astype(x.dtype)


def _largest(x: Array) -> Array:
    return jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True)


def _factor(largest: Array, low: float, high: float) -> Array:
    """Give what brings a size between two bounds, one where it is; no derivative passes."""
    # A factor on both, since the quotient of a compiler is a product with 1 / largest, which may be subnormal.
    factor = jnp.where(largest > high, high * 2.0**-8 / (jnp.maximum(largest, high) * 2.0**-8), 1)
    factor = jnp.where((largest < low) & (largest > 0), low / jnp.where(largest == 0, 1, largest), factor)
    return lax.stop_gradient(factor)


def bounded_entries(x: Array) -> Array:
    """Shorten entries whose squares would overflow; the others stay, bit for bit. NaN stays, Inf gives NaN."""
    bound = 0.5 * float(jnp.finfo(x.dtype).max) ** 0.5
    size = jnp.abs(x)
    return x * (bound * 2.0**-8 / (jnp.maximum(size, bound) * 2.0**-8)).astype(x.dtype)
