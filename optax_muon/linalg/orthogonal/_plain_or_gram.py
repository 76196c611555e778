"""The plain or the Gram iteration, whichever is faster for a shape."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float

from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg.orthogonal._gram_newton_schulz import GramNewtonSchulz
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz

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

    def reads(self, dtype: Any) -> Any:
        """Say to which dtype both round matrices of ``dtype`` first of all."""
        return self.plain.reads(dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Compose the polynomials on the normalised spectrum."""
        return self.plain.scalar(s)
