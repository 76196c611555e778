"""Singular values, kept as the state of an operation."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp
from optax_muon.linalg._scale import divide_by_largest_entry


@dataclasses.dataclass(frozen=True)
class Spectrum(MatrixOp):
    """Leave every matrix as it is, and keep its singular values, largest first, in float32 or wider.

    Use it to measure a tree through the lift.

    State: min(m, n) floats a matrix.
    """

    # Not with padding: zero rows add zeros to the spectrum, and its length is what min(m, n) says.
    commutes_with_transpose = True

    def init(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Start from zeros."""
        return jnp.zeros((*shape[:-2], min(shape[-2:])), jnp.finfo(accumulator_dtype(dtype)).dtype)

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], Array, Info]:
        """Decompose every matrix without vectors."""
        del key
        self.check_others(x, others)
        require_inexact(x, "Spectrum")
        if 0 in x.shape:
            return x, carry, Info()
        # Decomposed at size 1 and scaled back, so that 1e-30 and 1e30 are measured as well as 1.
        largest = jnp.max(jnp.abs(x.astype(accumulator_dtype(x.dtype))), axis=(-2, -1))
        return x, jnp.linalg.svd(divide_by_largest_entry(x), compute_uv=False) * largest[..., None], Info()
