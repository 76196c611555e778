"""What plain and Gram iterations share: a schedule, a normaliser, an arithmetic, and the shorter side on the left."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, Arithmetic, accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import in_middle_of_range, one_if_zero
from optax_muon.linalg.orthogonal._coefficients import POLAR_EXPRESS_NANOGPT_2025
from optax_muon.linalg.orthogonal._normalizer import Frobenius, Normalizer
from optax_muon.linalg.orthogonal._table import Coefficients


@dataclasses.dataclass(frozen=True)
class Iteration(SpectralMap):
    """A composition of odd polynomials of a normalised matrix, by products only.

    Args:
        coefficients: a table of `optax_muon.linalg`, or an array of shape (steps, terms), lowest degree first.
        normalize: brings the singular values into [0, 1]; None: the norm that the table was made for, Frobenius for
            an array.
        arithmetic: storage dtype and precision of the products; sums are in float32 or wider.

    Raises:
        ValueError: for coefficients that are not (steps, terms), or a table that rounding in this arithmetic would
            drive out of its bounds.
        TypeError: from ``apply``, for integer matrices, or complex ones with a named storage.
    """

    coefficients: Coefficients | Array | np.ndarray = POLAR_EXPRESS_NANOGPT_2025
    normalize: Normalizer | None = None
    arithmetic: Arithmetic = FLOAT32

    def __post_init__(self):
        """Raise on a table that is not (steps, terms), or that this arithmetic's rounding would drive out of bounds."""
        rows, name = self.rows, type(self).__name__
        if rows.ndim != 2 or rows.shape[0] < 1 or rows.shape[1] < 2:
            raise ValueError(f"{name}: coefficients must have shape (steps >= 1, terms >= 2), not {rows.shape}")
        # An arithmetic of unknown rounding is held to the coarsest that any platform makes of it, bfloat16.
        bits = self.arithmetic.significand_bits or 8
        # An array is the caller's own; it may be a tracer, which shows no numbers.
        if isinstance(self.coefficients, Coefficients) and not self.coefficients.survives(bits):
            raise ValueError(
                f"{name}: coefficients {self.coefficients.name} leave no room for the rounding of products that keep "
                f"{bits} bits; use coefficients.with_safety(1.01), or a wider arithmetic"
            )

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the normaliser lets it."""
        return self.normalizer.commutes_with_transpose

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the normaliser lets it."""
        return self.normalizer.commutes_with_padding

    @property
    def rows(self) -> Array | np.ndarray:
        """The schedule as an array, shape (steps, terms)."""
        if isinstance(self.coefficients, Coefficients):
            return np.asarray(self.coefficients.rows)
        return self.coefficients if isinstance(self.coefficients, jax.Array) else np.asarray(self.coefficients)

    @property
    def safety(self) -> float:
        """The factor that the norm is multiplied by."""
        return self.coefficients.safety if isinstance(self.coefficients, Coefficients) else 1.0

    @property
    def normalizer(self) -> Normalizer:
        """The normaliser in force."""
        if self.normalize is not None:
            return self.normalize
        return self.coefficients.normalize if isinstance(self.coefficients, Coefficients) else Frobenius()

    @abc.abstractmethod
    def flops(self, m: int, n: int) -> int:
        """Count the multiplications and additions of the products for one m x n matrix."""

    @abc.abstractmethod
    def iterate(
        self,
        x: Float[Array, "*batch m n"],
        gram: Float[Array, "*batch m m"] | None,
        rows: Float[Array, "steps terms"],
        scale: Float[Array, "*batch 1 1"] | None = None,
    ) -> Float[Array, "*batch m n"]:
        """Run the schedule on normalised matrices with m <= n, whose Gram matrices may be known.

        With ``scale`` the matrices are ``scale * x``, and ``gram`` is that of these.
        """

    def reads(self, dtype: Any) -> Any:
        """Say to which dtype it rounds matrices of ``dtype`` first of all."""
        return self.arithmetic.working_dtype(dtype) if self._rounds_first(dtype) else dtype

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Orthogonalise every matrix; the result has the dtype of ``x``."""
        require_inexact(x, type(self).__name__)
        storage = self.arithmetic.working_dtype(x.dtype)
        if 0 in x.shape:
            return x
        # The shorter side on the left: A = X X^T is then the smaller of the two Gram matrices.
        tall = x.shape[-2] > x.shape[-1]
        y, scale = x.mT if tall else x, None
        if self._rounds_first(x.dtype):
            near = in_middle_of_range(y.astype(storage), resident=x.dtype == storage)
            y, gram, scale = scaled_gram(near, self.arithmetic, self.safety)
        else:
            y, gram = self.normalizer.prepare(y, self.arithmetic)
            y = (y / self.safety).astype(storage)
            # A normaliser's Gram matrix is that of X before the safety.
            gram = None if gram is None else gram / self.safety**2
        # In the accumulator's dtype: bfloat16 would round 8.157 to 8.125, which is another polynomial.
        rows = jnp.asarray(self.rows, jnp.finfo(accumulator_dtype(storage)).dtype)
        y = self.iterate(y, gram, rows, scale).astype(x.dtype)
        return y.mT if tall else y

    def _rounds_first(self, dtype: Any) -> bool:
        """Tell whether matrices of ``dtype`` are rounded before their norm is taken, which bfloat16's range allows."""
        # Float64 alone may hold numbers beyond it.
        if not jnp.issubdtype(dtype, jnp.floating) or jnp.dtype(dtype).itemsize > 4:
            return False
        return self.arithmetic.working_dtype(dtype) == jnp.bfloat16 and isinstance(self.normalizer, Frobenius)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Compose the polynomials on the normalised spectrum."""
        s = self.normalizer.scalar(s) / self.safety
        for row in self.rows:
            s = s * jnp.polyval(jnp.asarray(row[::-1], s.dtype), s * s)
        return s


def scaled_gram(x: Array, arithmetic: Arithmetic, safety: float) -> tuple[Array, Array, Array]:
    """Give matrices, the Gram matrices of the normalised ones, and what normalises the former.

    The Frobenius norm is the root of the Gram matrix's trace, and it divides that small matrix alone, so that the large
    one is read by products alone. Squares of its entries must be in range.
    """
    gram = arithmetic.gram(x)
    square = jnp.trace(gram, axis1=-2, axis2=-1)[..., None, None]
    scale = 1 / (safety * jnp.sqrt(one_if_zero(square)))
    return x, gram * scale**2, scale
