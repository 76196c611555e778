"""Set the largest singular value alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from optax_muon._numbers import require_positive
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp
from optax_muon.linalg._scale import largest_entry, length, one_if_zero, quotient, unit_length
from optax_muon.linalg.spectral._by_svd import ExactMap, by_size


@dataclasses.dataclass(frozen=True)
class Hammer(ExactMap):
    r"""Set the largest singular value to a number, up or down, and leave the others.

    Use it as a weight projection under an optimizer whose updates are nearly of rank one, such as AdamW, where one
    direction grows at a time.

    .. math::
        W + (c - \sigma_1) \, u_1 v_1^T

    Args:
        maximum: c > 0, the new largest singular value. A zero matrix stays zero.

    Raises:
        ValueError: for a maximum that is not positive.

    References:
        Newhouse et al., Training Transformers with Enforced Lipschitz Constants, arXiv 2507.13338.
    """

    maximum: Number

    def __post_init__(self):
        """Raise on a value that is not positive."""
        require_positive("Hammer", maximum=self.maximum)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Replace the largest; of equal ones, the first."""
        return jnp.where((by_size(s) == 0) & (s != 0), jnp.asarray(self.maximum, s.dtype), s)


@dataclasses.dataclass(frozen=True)
class PowerHammer(MatrixOp):
    """`Hammer` by power iteration from the last step's singular vector: products with vectors only.

    Use it on weights, which change little between steps, so that a few iterations follow the top direction. Where two
    singular values are close together it finds a mixture of their directions.

    Args:
        maximum: the new largest singular value.
        iterations: products with ``X^T X`` a call; 16 find the direction from nothing when the second singular value
            is under 0.7 of the first.

    Raises:
        ValueError: for a maximum that is not positive, or iterations below 1.

    State: min(m, n) floats a matrix.

    References:
        Newhouse et al., arXiv 2507.13338.
    """

    maximum: Number
    iterations: int = 16

    def __post_init__(self):
        """Raise on a value that is not positive and a loop that does nothing."""
        require_positive("PowerHammer", maximum=self.maximum)
        if self.iterations < 1:
            raise ValueError(f"PowerHammer: iterations must be >= 1, not {self.iterations}")

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Start from a fixed generic direction."""
        return jnp.asarray(np.broadcast_to(_generic(shape), (*shape[:-2], min(shape[-2:]))), accumulator_dtype(dtype))

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Follow the top direction, then set its singular value."""
        del key
        self.check_others(x, others)
        require_inexact(x, "PowerHammer")
        if 0 in x.shape:
            return x, carry, Info()
        # The vector that is kept is the one on the shorter side: min(m, n) floats of state.
        wide = x.shape[-2] < x.shape[-1]
        y = x.mT if wide else x
        y = y.astype(accumulator_dtype(x.dtype))
        # X^T X of 1e30 overflows, so the iteration runs on entries of at most 1.
        scale = largest_entry(y)
        unit = quotient(y, one_if_zero(scale))
        # A direction lost to a NaN or a zero matrix is found anew.
        lost = ~jnp.isfinite(carry).all(-1, keepdims=True) | (carry == 0).all(-1, keepdims=True)
        v = jnp.where(lost, self.init(x.shape, x.dtype), carry)[..., None]

        def step(_, v):
            """Multiply by ``X^T X`` and normalise."""
            return _normalized(FLOAT32.matmul(jnp.conj(unit.mT), FLOAT32.matmul(unit, v)))

        v = jax.lax.fori_loop(0, self.iterations, step, v)
        image = FLOAT32.matmul(unit, v)
        largest = length(image, -2)
        left = image / jnp.where(largest == 0, 1, largest)
        change = jnp.where(largest == 0, 0, jnp.asarray(self.maximum, largest.dtype) - largest * scale)
        # A correction of rank one: the other directions are not computed, so they cannot be damaged.
        y = (y + change * FLOAT32.matmul(left, jnp.conj(v.mT))).astype(x.dtype)
        return y.mT if wide else y, v[..., 0], Info()


def _generic(shape: tuple[int, ...]) -> np.ndarray:
    """Unit vector of the shorter side's length, the same for every matrix of a shape."""
    # Gaussian: a vector of ones would be orthogonal to the top direction of a centred gradient.
    v = np.random.default_rng(0).normal(size=min(shape[-2:]))
    return v / max(np.linalg.norm(v), np.finfo(v.dtype).tiny)


def _normalized(v: Array) -> Array:
    """Columns ``(*batch, n, 1)`` of length 1; zero stays zero."""
    return unit_length(v, -2)
