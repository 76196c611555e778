"""Norms made from another by a factor of the matrix's fan-in and fan-out: the modular norms among them."""

import abc
import dataclasses
import math

from jaxtyping import Array

from optax_muon._numbers import is_known
from optax_muon.linalg import SpectralMap
from optax_muon.norms._entrywise import AxisNorm, Frobenius
from optax_muon.norms._norm import Norm, Normalization
from optax_muon.norms._spectral import DEFAULT_ORTHOGONALIZER, Spectral
from optax_muon.shapes import ShapeScale


@dataclasses.dataclass(frozen=True)
class FanPower(ShapeScale):
    """``reduction ** p * output ** q``.

    Use it in `Scaled` for papers' factors that are no shape scale.

    Args:
        reduction: the power p of the fan-in.
        output: the power q of the fan-out.
    """

    reduction: float = 0.0
    output: float = 0.0

    def factor(self, reduction: int, output: int) -> float:
        """Return the factor."""
        return reduction**self.reduction * output**self.output


class Rescaled(Norm):
    """Base of norms that are another norm with a unit ball enlarged by ``factor(reduction, output)``."""

    @property
    @abc.abstractmethod
    def base(self) -> Norm:
        """The other norm."""

    @abc.abstractmethod
    def factor(self, reduction: int, output: int) -> float:
        """How much larger the ball is on matrices of this shape."""

    @property
    def normalization(self) -> Normalization | None:
        """That of the other norm, times the factor."""
        base = self.base.normalization
        # Appended, so that an elementwise oracle stays elementwise under any number of factors.
        return base and dataclasses.replace(base, factors=(*base.factors, self))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise on what the other norm raises on, and a factor that is not positive."""
        self.base.check(shape)
        # An empty side makes the factor 0 or a division by it; such matrices never reach the oracle.
        factor = 1.0 if 0 in shape else self.factor(*shape[-2:])
        if is_known(factor) and not 0 < factor < math.inf:
            raise ValueError(f"{type(self).__name__}: the factor on {shape[-2:]} is {factor}, not positive")

    def _value(self, x: Array) -> Array:
        """That of the other norm over the factor, ``(*batch,)``."""
        # The ball grows by the factor: the norm shrinks by it, dual and oracle grow.
        return self.base._value(x) / self.factor(*x.shape[-2:])

    def _dual(self, x: Array) -> Array:
        """That of the other norm times the factor, ``(*batch,)``."""
        return self.base._dual(x) * self.factor(*x.shape[-2:])

    def _direction(self, x: Array) -> Array:
        """That of the other norm times the factor, ``(*batch, m, n)``."""
        return self.base._direction(x) * self.factor(*x.shape[-2:])


@dataclasses.dataclass(frozen=True)
class Scaled(Rescaled):
    """Rescale any norm: its unit ball is enlarged by a shape scale.

    Scion's own: ``Scaled(Max(), FanPower(reduction=-1))`` is its normalised Sign,
    ``Scaled(AxisNorm("reduction"), FanPower(reduction=-0.5))`` its normalised RowNorm, and
    ``Scaled(Spectral(), shapes.Jordan())`` its input layer.

    Args:
        norm: the norm.
        scale: an object of `optax_muon.shapes`, or `FanPower`.
    """

    norm: Norm
    scale: ShapeScale

    @property
    def base(self) -> Norm:
        """The norm given."""
        return self.norm

    def factor(self, reduction: int, output: int) -> float:
        """The scale's factor."""
        return self.scale.factor(reduction, output)


@dataclasses.dataclass(frozen=True)
class RMS(Rescaled):
    """Root mean square of the entries; the oracle normalises to RMS 1 (Scion's BiasRMS).

    Use it for vectors.

    References:
        Pethick et al., Scion, arXiv 2502.07529.
    """

    commutes_with_transpose = True

    @property
    def base(self) -> Norm:
        """Frobenius."""
        return Frobenius()

    def factor(self, reduction: int, output: int) -> float:
        """Root of the number of entries."""
        return math.sqrt(reduction * output)


@dataclasses.dataclass(frozen=True)
class Linear(Rescaled):
    """The modular norm of a dense layer: the operator norm from RMS to RMS, ``sqrt(reduction / output) s_1``.

    Use it for hidden matrices and routers. The oracle is Muon's with the factor ``sqrt(output / reduction)``; learning
    rates carry over between widths.

    Args:
        orthogonalizer: the oracle of `Spectral`.

    References:
        Large et al., Scalable Optimization in the Modular Norm, arXiv 2405.14813.
    """

    orthogonalizer: SpectralMap = DEFAULT_ORTHOGONALIZER

    @property
    def base(self) -> Norm:
        """Spectral."""
        return Spectral(self.orthogonalizer)

    def factor(self, reduction: int, output: int) -> float:
        """Root of fan-out over fan-in."""
        return math.sqrt(output / reduction)


@dataclasses.dataclass(frozen=True)
class Embed(Rescaled):
    """The modular norm of an embedding: the largest RMS among the tokens' vectors, an operator norm from l1 to RMS.

    Use it for embeddings. The oracle brings every token's vector to RMS 1 (Scion's ColNorm). A token that has not
    occurred has a zero gradient and does not move.

    References:
        Large et al., arXiv 2405.14813; Pethick et al., Scion, arXiv 2502.07529.
    """

    @property
    def base(self) -> Norm:
        """Longest vector along the output."""
        return AxisNorm("output")

    def factor(self, reduction: int, output: int) -> float:
        """Root of the width."""
        del reduction
        return math.sqrt(output)
