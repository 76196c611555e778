"""Pre-normalisers: they bring the singular values into [0, 1] before an iteration starts."""

import abc
import dataclasses
from typing import ClassVar

from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import Arithmetic, accumulator_dtype
from optax_muon.linalg._scale import unit_length


class Normalizer(abc.ABC):
    """Scales each matrix of a stack so that its largest singular value is at most 1.

    Attributes:
        commutes_with_transpose: as for `SpectralMap`.
        commutes_with_padding: as for `SpectralMap`.
    """

    commutes_with_transpose: ClassVar[bool] = True
    commutes_with_padding: ClassVar[bool] = True

    @abc.abstractmethod
    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Scale; the result is in float32 or wider. Zero matrices stay zero."""

    @abc.abstractmethod
    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Say what ``apply`` does to the spectrum ``s``."""

    def prepare(
        self, x: Float[Array, "*batch m n"], arithmetic: Arithmetic
    ) -> tuple[Float[Array, "*batch m n"], Float[Array, "*batch m m"] | None]:
        """Scale matrices with m <= n for an iteration; return their Gram matrices too, where these are at hand."""
        del arithmetic
        return self.apply(x), None


@dataclasses.dataclass(frozen=True)
class Frobenius(Normalizer):
    """Divide by the Frobenius norm, which bounds the spectral norm.

    Use it unless a table was made for another norm: it is rigorous, and costs no product. Each matrix is first divided
    by its largest entry, so that no square under- or overflows: 1e-30 and 1e30 come out alike, with no epsilon to bias
    small gradients.
    """

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Scale to Frobenius norm 1."""
        return unit_length(x.astype(accumulator_dtype(x.dtype)))

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Divide the spectrum by its Euclidean norm."""
        return unit_length(s, -1) if s.shape[-1] else s
