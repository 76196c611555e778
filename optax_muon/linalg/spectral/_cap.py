"""Caps by fixed odd polynomials of a matrix whose norm is known beforehand."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon._numbers import is_known, require_positive
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32, Arithmetic, accumulator_dtype
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg.orthogonal._coefficients import Coefficients
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz
from optax_muon.linalg.orthogonal._normalizer import Normalizer

# Below this ratio of cap to largest the two cubics are not monotone, and overshoot the cap in between.
TIGHTEST = 62 / 81

# Fitted on [0, 3] for a cap of 1. No safety: the matrix is divided by the cap, never by its own norm.
LIPSCHITZ_CAP_2025 = Coefficients(
    "LIPSCHITZ_CAP_2025",
    (
        (0.805032, 0.206361, -0.019763),
        (0.649867, 0.162935, -0.011150),
        (1.810259, -0.200265, 0.008251),
        (1.004384, -0.183490, 0.014413),
    ),
    "Newhouse et al., arXiv 2507.13338, github.com/Arongil/lipschitz-transformers: min(1, s) within 0.034 on [0, 3]",
)


@dataclasses.dataclass(frozen=True)
class _Fixed(Normalizer):
    """Divide by a number instead of a norm: a cap must leave small matrices small."""

    size: Number

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Divide."""
        x = x.astype(accumulator_dtype(x.dtype))
        return x / jnp.asarray(self.size, jnp.real(x).dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Divide."""
        return s / jnp.asarray(self.size, s.dtype)


@dataclasses.dataclass(frozen=True)
class PolynomialCap(SpectralMap):
    """Approximate ``min(s, maximum)`` by four quintics, with no normalisation and no decomposition.

    Use it as a weight projection, where singular values are known to stay under three times the cap. It is no guard
    against larger ones: past 3.4 times the cap the polynomials change sign, and past 4.4 times they overflow.

    Args:
        maximum: the cap. The result is within 0.034 of it times ``maximum`` of the hard cap.
        coefficients: a table made for a cap of 1.
        arithmetic: storage dtype and precision of the products.

    Raises:
        ValueError: for a maximum that is not positive.

    References:
        Newhouse et al., arXiv 2507.13338.
    """

    maximum: Number
    coefficients: Coefficients = LIPSCHITZ_CAP_2025
    arithmetic: Arithmetic = FLOAT32

    def __post_init__(self):
        """Raise on a cap that is not positive."""
        require_positive("PolynomialCap", maximum=self.maximum)

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Cap every matrix; the result has the dtype of ``x``."""
        return (self._polynomials.apply(x) * self.maximum).astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Compose the polynomials."""
        return self._polynomials.scalar(s) * jnp.asarray(self.maximum, s.dtype)

    @property
    def _polynomials(self) -> NewtonSchulz:
        """The quintics as an iteration on ``x / maximum``."""
        return NewtonSchulz(self.coefficients, _Fixed(self.maximum), self.arithmetic)


@dataclasses.dataclass(frozen=True)
class SoftCap(SpectralMap):
    r"""Bring singular values from [0, largest] into [0, maximum], small ones nearly unchanged, by two cubics.

    Use it on weights after every step: with ``largest`` the cap plus what one update can add, the norm never grows
    past ``maximum``, at the cost of four products.

    .. math::
        y = x - a x^3, \qquad z = y + a y^3, \qquad z(\text{largest}) = \text{maximum}

    Args:
        maximum: the cap, reached at ``largest``; a number or a traced scalar.
        largest: the greatest singular value that can occur, in [maximum, 1.306 maximum]; beyond that ratio the two
            cubics would overshoot the cap in between. In a weight projection
            ``maximum * (1 - decay) + norm of the update``.
        arithmetic: storage dtype and precision of the products.

    Raises:
        ValueError: for numbers that are not positive, or ``largest`` outside [1, 1.306] times ``maximum``.

    References:
        Newhouse et al., arXiv 2507.13338, where a is the smallest root of a polynomial of degree four.
    """

    maximum: Number
    largest: Number
    arithmetic: Arithmetic = FLOAT32

    def __post_init__(self):
        """Raise on an interval that the cubics cannot map."""
        require_positive("SoftCap", maximum=self.maximum, largest=self.largest)
        if is_known(self.maximum) and is_known(self.largest):
            # Under jit both may be tracers, and nobody checks: the caller of a schedule answers for its ratio.
            ratio = float(self.maximum) / float(self.largest)
            if not TIGHTEST <= ratio <= 1:
                raise ValueError(
                    f"SoftCap: largest must be in [1, 1.306] times maximum {self.maximum}, not {self.largest}"
                )

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Cap every matrix; the result has the dtype of ``x``."""
        return (self._polynomials.apply(x) * self.largest).astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Compose the cubics."""
        return self._polynomials.scalar(s) * jnp.asarray(self.largest, s.dtype)

    @property
    def _polynomials(self) -> NewtonSchulz:
        """The two cubics as an iteration on ``x / largest``, where the bend is ``u = a largest^2``."""
        u = self._bend
        rows = [[1, -u], [1, u]]
        # NumPy where the numbers are plain: they stay float64 until the iteration casts them to its own dtype.
        rows = np.array(rows) if isinstance(u, float) else jnp.array(rows)
        return NewtonSchulz(rows, _Fixed(self.largest), self.arithmetic)

    @property
    def _bend(self) -> Any:
        """Solve ``u^2 (3 - 3 u + u^2) = 1 - maximum / largest`` for ``u = a largest^2`` in [0, 1/3].

        The square root is within 22 % of it, and six steps of Newton's method from there leave rounding alone.
        """
        excess = 1 - self.maximum / self.largest
        excess = max(excess, 0.0) if isinstance(excess, float) else jnp.maximum(excess, 0)
        u = (excess / 2 + 1e-30) ** 0.5  # not zero: its root is double there
        for _ in range(6):
            u = u - (u * u * (3 - 3 * u + u * u) - excess) / (u * (6 - 9 * u + 4 * u * u))
        return u
