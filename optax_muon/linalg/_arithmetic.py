"""How the products of an iteration are carried out: precision is part of the algorithm."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """Storage and precision of every matrix product, so that no platform's default decides.

    A float32 product is one bfloat16 pass on a TPU and TF32 on a GPU unless a precision is named. Sums are always
    accumulated in float32 or wider.

    Attributes:
        storage: dtype in which matrices stand between products; None keeps the input's, widened to float32.
        precision: passed to every product.
    """

    storage: Any = None
    precision: jax.lax.Precision = jax.lax.Precision.HIGHEST

    def working_dtype(self, dtype: Any) -> Any:
        """Dtype of the iterates for input of ``dtype``."""
        wide = accumulator_dtype(dtype)
        return wide if self.storage is None else jnp.dtype(self.storage)

    def matmul(self, a: Array, b: Array) -> Array:
        """Multiply, and leave the result in the accumulator's dtype."""
        return jnp.matmul(a, b, precision=self.precision, preferred_element_type=accumulator_dtype(a.dtype))


FLOAT32 = Arithmetic()
BFLOAT16 = Arithmetic(storage=jnp.bfloat16, precision=jax.lax.Precision.DEFAULT)


def accumulator_dtype(dtype: Any) -> Any:
    """Widen float16, bfloat16 and float8 to float32; leave float32, float64 and complex as they are."""
    return jnp.promote_types(dtype, jnp.float32)


def require_inexact(x: Array, what: str) -> None:
    """Refuse anything but a stack of floating-point or complex matrices."""
    if x.ndim < 2:
        raise ValueError(f"{what} takes matrices of shape (*batch, m, n), not an array of shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{what} takes floating-point matrices, not {x.dtype}: cast them first")
