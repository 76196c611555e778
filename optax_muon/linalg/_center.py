"""Centring: the part of a matrix that a common shift of its vectors does not change."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp


@dataclasses.dataclass(frozen=True)
class Center(MatrixOp):
    """Subtract the mean over one axis of (reduction, output).

    Logits are read through a softmax, which ignores a shift common to all of them: ``Center("output")`` takes the
    shift out of a head's or router's step. It is an orthogonal projection.

    Args:
        axis: the axis that is averaged over.

    Raises:
        ValueError: for an unknown axis.
        TypeError: from ``apply``, for integer matrices.

    References:
        Lau and Su, arXiv 2605.18106 (centred rules).
    """

    axis: Literal["reduction", "output"]

    def __post_init__(self):
        """Raise on an unknown axis."""
        if self.axis not in ("reduction", "output"):
            raise ValueError(f"Center: axis must be 'reduction' or 'output', not {self.axis!r}")

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Return no state."""
        del shape, dtype
        return ()

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Project every matrix; the result has the dtype of ``x``."""
        del key
        self.check_others(x, others)
        require_inexact(x, "Center")
        if x.size == 0:
            return x, carry, Info()
        # Wide, so that the difference is rounded once: a mean rounded to bfloat16 would leave its own error in every
        # entry.
        wide = x.astype(accumulator_dtype(x.dtype))
        # Stacks are (reduction, output) whatever the model's layout, so -2 is the reduction axis.
        axis = -2 if self.axis == "reduction" else -1
        # Divided before the sum, which could overflow.
        mean = jnp.sum(wide / x.shape[axis], axis=axis, keepdims=True)
        return (wide - mean).astype(x.dtype), carry, Info()
