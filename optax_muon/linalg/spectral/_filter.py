"""Filters by fixed odd polynomials of the normalised spectrum."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, Arithmetic
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import one_if_zero, quotient
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz
from optax_muon.linalg.orthogonal._normalizer import Frobenius, Normalizer

PROMOTE = (1.875, -1.25, 0.375)  # draws every singular value towards 1
SUPPRESS = (0.0, 2.5, -1.5)  # draws those above sqrt(2/3) to 1 and those below to 0
CHAOS = (4.1, -8.2, 4.1)  # 4.1 s (1 - s^2)^2
# The map's largest value is 4.1 * 16 / (25 sqrt 5) = 1.1735, at s = 1 / sqrt 5: everything ends below 1.
CHAOS_SCALE = 1.175


@dataclasses.dataclass(frozen=True)
class HighPass(SpectralMap):
    r"""Bring singular values above a cut-off to 1 and those below to 0, Pion's filter.

    Use it where the small singular directions of a gradient are noise, as in fine-tuning of an action head or in
    reinforcement learning. The norm is 1 after normalisation, so the largest singular value is
    ``1 / sqrt(stable rank)``: with ``promotions=0`` anything but a matrix of nearly rank one is filtered to zero, and
    ordinary layers need 2 or 3.

    .. math::
        X \leftarrow \tfrac{15}{8} X - \tfrac54 A X + \tfrac38 A^2 X \;\text{(promotions times), then}\;
        X \leftarrow \tfrac52 A X - \tfrac32 A^2 X, \qquad A = X X^T

    Args:
        promotions: how many of the steps lift the spectrum; each about halves the cut-off. All of them: no filter.
        steps: steps altogether.
        normalize: brings the singular values into [0, 1].
        arithmetic: storage dtype and precision of the products.

    Raises:
        ValueError: for steps below 1, or promotions outside [0, steps].

    References:
        Fan et al., Pion, arXiv 2605.19282.

    Example:
        >>> import optax_muon as om
        >>> [round(om.linalg.HighPass(k).cutoff, 3) for k in range(5)]
        [0.816, 0.523, 0.296, 0.16, 0.086]
    """

    promotions: int
    steps: int = 5
    normalize: Normalizer = Frobenius()
    arithmetic: Arithmetic = FLOAT32

    def __post_init__(self):
        """Raise on numbers of steps that do not fit."""
        if self.steps < 1:
            raise ValueError(f"HighPass: steps must be >= 1, not {self.steps}")
        if not 0 <= self.promotions <= self.steps:
            raise ValueError(f"HighPass: promotions must be in [0, steps={self.steps}], not {self.promotions}")

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the normaliser lets it."""
        return self._polynomials.commutes_with_transpose

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the normaliser lets it."""
        return self._polynomials.commutes_with_padding

    @property
    def rows(self) -> tuple[tuple[float, ...], ...]:
        """The schedule, lowest degree first."""
        return (PROMOTE,) * self.promotions + (SUPPRESS,) * (self.steps - self.promotions)

    @property
    def cutoff(self) -> float:
        """The normalised singular value that stays put under suppression: above it 1, below it 0."""
        low, high = 0.0, 1.0
        # Bisection: PROMOTE is increasing on [0, 1], so the cut-off is unique; 60 halvings exhaust float64.
        for _ in range(60):
            middle = value = (low + high) / 2
            for row in self.rows[: self.promotions]:
                value *= float(np.polynomial.polynomial.polyval(value * value, row))
            low, high = (low, middle) if value > (2 / 3) ** 0.5 else (middle, high)
        return high

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Filter every matrix; the result has the dtype of ``x``."""
        return self._polynomials.apply(x)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Compose the polynomials on the normalised spectrum."""
        return self._polynomials.scalar(_relative(s))

    @property
    def _polynomials(self) -> NewtonSchulz:
        """The schedule as an iteration."""
        return NewtonSchulz(np.array(self.rows), self.normalize, self.arithmetic)


@dataclasses.dataclass(frozen=True)
class Kaon(SpectralMap):
    r"""Scatter the singular values chaotically over [0, 1) and keep the singular vectors.

    Use it as the control that it is in its paper: it trains about as well as Muon although its spectrum carries no
    information. Its steps are about half as long as Muon's in RMS, so the learning rate wants a factor of about 1.8.

    .. math::
        X_0 = M / \|M\|_F, \qquad X \leftarrow 4.1 \, (I - X X^T)^2 X, \qquad O = X_T / 1.175

    Args:
        steps: T; nearby singular values part by a factor of about 2.4 a step, and so does rounding.

    Raises:
        ValueError: for steps below 1.

    References:
        Shumaylov et al., Muon is Not That Special, arXiv 2605.11181.
    """

    steps: int = 5

    def __post_init__(self):
        """Raise on a loop without a step."""
        if self.steps < 1:
            raise ValueError(f"Kaon: steps must be >= 1, not {self.steps}")

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Scatter the spectrum of every matrix; the result has the dtype of ``x``."""
        return (self._polynomials.apply(x) / CHAOS_SCALE).astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Iterate the map on the normalised spectrum."""
        return self._polynomials.scalar(_relative(s)) / jnp.asarray(CHAOS_SCALE, s.dtype)

    @property
    def _polynomials(self) -> NewtonSchulz:
        """The chaotic map, ``steps`` times, as an iteration."""
        # Float32 alone: rounding grows by 2.4 a step, and bfloat16 would make noise of it.
        return NewtonSchulz(np.array((CHAOS,) * self.steps))


def _relative(s: Array) -> Array:
    """Divide by the largest, so that no square of a spectrum under- or overflows; the maps here are scale free."""
    largest = jnp.max(s, axis=-1, keepdims=True)
    return quotient(s, one_if_zero(largest))
