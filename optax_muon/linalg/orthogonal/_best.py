"""The plain or the Gram iteration, whichever is faster for a shape and safe in an arithmetic."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, Arithmetic
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg.orthogonal._coefficients import POLAR_EXPRESS_NANOGPT_2025
from optax_muon.linalg.orthogonal._gram_newton_schulz import GramNewtonSchulz
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz
from optax_muon.linalg.orthogonal._normalizer import Normalizer
from optax_muon.linalg.orthogonal._table import Coefficients

# The Gram iteration has more and smaller products and more sums between them: a gain of a few percent of FLOPs is none.
WORTHWHILE = 0.95


@dataclasses.dataclass(frozen=True)
class PlainOrGram(SpectralMap):
    """Run the Gram iteration where it saves FLOPs and the plain one elsewhere; both compute the same polynomials.

    Args:
        plain: for square and nearly square matrices.
        gram: for the others, of the same schedule.
    """

    plain: NewtonSchulz
    gram: GramNewtonSchulz

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the normaliser lets it."""
        return self.plain.commutes_with_transpose

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the normaliser lets it."""
        return self.plain.commutes_with_padding

    def choice(self, m: int, n: int) -> NewtonSchulz | GramNewtonSchulz:
        """Say which iteration an m x n matrix takes."""
        worthwhile = self.gram.flops(m, n) <= WORTHWHILE * self.plain.flops(m, n)
        return self.gram if worthwhile else self.plain

    def flops(self, m: int, n: int) -> int:
        """Count the products of one m x n matrix."""
        return self.choice(m, n).flops(m, n)

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Orthogonalise every matrix; the result has the dtype of ``x``."""
        return (self.choice(*x.shape[-2:]) if x.ndim >= 2 else self.plain).apply(x)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Compose the polynomials on the normalised spectrum."""
        return self.plain.scalar(s)


def best(
    coefficients: Coefficients | Array | np.ndarray = POLAR_EXPRESS_NANOGPT_2025,
    *,
    normalize: Normalizer | None = None,
    arithmetic: Arithmetic = FLOAT32,
) -> NewtonSchulz | PlainOrGram:
    """Make the fastest iteration of a schedule that is safe in an arithmetic.

    Use it wherever an orthogonaliser is asked for, unless you compare iterations. Shapes are static, so the choice
    costs nothing at run time: long matrices take `GramNewtonSchulz` (a third fewer FLOPs at four times as long as wide,
    in float32), all others `NewtonSchulz`. It is `NewtonSchulz` alone for float32 storage at DEFAULT precision, where
    the Gram iteration is unsafe on a TPU, and for coefficients in a `jax.Array`, whose slopes are not known beforehand.

    Args:
        coefficients: a table of `optax_muon.linalg`, or any array of shape (steps, terms), lowest degree first.
        normalize: brings the singular values into [0, 1]; None: the norm that the table was made for.
        arithmetic: storage dtype and precision of the products.

    Raises:
        ValueError: for a table that is not (steps, terms), or that rounding in this arithmetic would drive out of its
            bounds.

    Example:
        >>> import optax_muon as om
        >>> fast = om.linalg.best(om.linalg.POLAR_EXPRESS_NANOGPT_2025)
        >>> type(fast.choice(512, 512)).__name__, type(fast.choice(2048, 512)).__name__
        ('NewtonSchulz', 'GramNewtonSchulz')
    """
    plain = NewtonSchulz(coefficients, normalize, arithmetic)
    # Restarts are chosen in Python from the numbers of the table, which a traced array does not show.
    if arithmetic.significand_bits is None or isinstance(coefficients, jax.Array):
        return plain
    return PlainOrGram(plain, GramNewtonSchulz(coefficients, normalize, arithmetic))
