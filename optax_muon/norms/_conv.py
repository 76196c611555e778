"""Norms of convolution kernels, whose reduction runs over taps and input channels."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon._numbers import require_whole
from optax_muon.linalg import SpectralMap
from optax_muon.norms._norm import Norm
from optax_muon.norms._scaled import Linear, Rescaled
from optax_muon.norms._spectral import DEFAULT_ORTHOGONALIZER, Spectral


@dataclasses.dataclass(frozen=True)
class Taps(Norm):
    """The largest norm among the taps of a kernel, each a matrix (in, out) of its own.

    Use it where every tap of a kernel should be a matrix of its own, in any norm. A kernel arrives as (taps * in, out),
    the taps outermost, as the axes (height, width, in) of Flax flatten.

    Args:
        norm: of one tap.
        taps: kernel height times width: 9 for a 3 x 3 kernel. It must divide the reduction, which is checked when a
            shape is seen.

    Raises:
        ValueError: for taps that are no whole number of at least 1, or do not divide the reduction of a shape.
    """

    norm: Norm
    taps: int

    def __post_init__(self):
        """Raise on a count below one."""
        require_whole("Taps: taps", self.taps)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise on a reduction that is no multiple of the taps."""
        _require_taps(self, self.taps, shape)
        self.norm.check((*shape[:-2], self.taps, shape[-2] // self.taps, shape[-1]))

    def _value(self, x: Array) -> Array:
        """Largest over the taps, ``(*batch,)``."""
        # A maximum over taps has the sum as its dual, and the oracle acts on every tap alone.
        return jnp.max(self.norm._value(self._cut(x)), axis=-1)

    def _dual(self, x: Array) -> Array:
        """Sum over the taps, ``(*batch,)``."""
        return jnp.sum(self.norm._dual(self._cut(x)), axis=-1)

    def _direction(self, x: Array) -> Array:
        """The norm's oracle on every tap, ``(*batch, taps * in, out)``."""
        return self.norm._direction(self._cut(x)).reshape(x.shape)

    def _cut(self, x: Array) -> Array:
        """Cut ``(*batch, taps * in, out)`` into ``(*batch, taps, in, out)``."""
        return x.reshape(*x.shape[:-2], self.taps, x.shape[-2] // self.taps, x.shape[-1])


@dataclasses.dataclass(frozen=True)
class Conv(Rescaled):
    """The modular norm of a convolution: taps times the largest RMS-to-RMS norm among them.

    Use it for convolutions in a modular network whose rates should carry over between widths.

    Args:
        taps: kernel height times width.
        orthogonalizer: the oracle of `Spectral`, on one tap at a time.

    Raises:
        ValueError: for taps that are no whole number of at least 1, or do not divide the reduction of a shape.

    References:
        Large et al., Scalable Optimization in the Modular Norm, arXiv 2405.14813.
    """

    taps: int
    orthogonalizer: SpectralMap = DEFAULT_ORTHOGONALIZER

    def __post_init__(self):
        """Raise on a count below one."""
        require_whole("Conv: taps", self.taps)

    @property
    def base(self) -> Norm:
        """Largest over the taps."""
        return Taps(Linear(self.orthogonalizer), self.taps)

    def factor(self, reduction: int, output: int) -> float:
        """One over the taps."""
        del reduction, output
        return 1 / self.taps


@dataclasses.dataclass(frozen=True)
class SpectralConv(Rescaled):
    """Scion's norm of a convolution: the spectral norm of the whole kernel as one matrix (taps * in, out).

    Use it for convolutions in Scion's recipes, which treat the whole kernel as one matrix. The oracle's factor is
    ``sqrt(out / in) / taps`` with ``in`` the channels of one tap.

    Args:
        taps: kernel height times width.
        orthogonalizer: the oracle of `Spectral`.

    Raises:
        ValueError: for taps that are no whole number of at least 1, or do not divide the reduction of a shape.

    References:
        Pethick et al., Scion, arXiv 2502.07529, github.com/LIONS-EPFL/scion.
    """

    taps: int
    orthogonalizer: SpectralMap = DEFAULT_ORTHOGONALIZER

    def __post_init__(self):
        """Raise on a count below one."""
        require_whole("SpectralConv: taps", self.taps)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise on a reduction that is no multiple of the taps."""
        _require_taps(self, self.taps, shape)

    @property
    def base(self) -> Norm:
        """Spectral."""
        return Spectral(self.orthogonalizer)

    def factor(self, reduction: int, output: int) -> float:
        """Root of fan-out over input channels, over the taps."""
        # ``reduction`` counts taps * in, Scion's sqrt(out / in) one tap's channels.
        return math.sqrt(output * self.taps / reduction) / self.taps


def _require_taps(norm: Norm, taps: int, shape: tuple[int, ...]) -> None:
    """Raise on a reduction that is no multiple of the taps."""
    if shape[-2] % taps:
        raise ValueError(f"{type(norm).__name__}: taps = {taps} does not divide the reduction {shape[-2]} of a kernel")
