"""Clip the singular values of a matrix."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import is_known, require_not_negative, require_positive
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import largest_entry, length, one_if_zero, quotient
from optax_muon.linalg.spectral._by_svd import TwoWayMap, numerical_rank

# Ratio of Frobenius norm to cap up to which a difference of float32 matrices keeps three digits of the cap.
WIDEST = 1e3


@dataclasses.dataclass(frozen=True)
class SpectralClip(TwoWayMap):
    r"""Clip every nonzero singular value to an interval; with a lower end of zero it is the hard cap.

    Use it to bound the spectral norm of gradients, momenta or weights, each direction on its own: directions below the
    cap pass unchanged, which rescaling the whole matrix does not give.

    .. math::
        U \operatorname{clip}(S, a, b) V^T = \tfrac12 \big[ (a + b) O + \operatorname{sign}(a I - H)(a O - X)
        - \operatorname{sign}(b I - H)(b O - X) \big], \qquad O = \operatorname{orth}(X), \; H = O X^T

    Args:
        maximum: b > 0, the cap; a number or a traced scalar.
        minimum: a in [0, maximum]; singular values over the numerical rank are raised to it, zeros stay zero.
        orthogonalizer: None decomposes; a map evaluates the right-hand side with it, three times (twice for a = 0),
            products only. Its error e comes out as about ``e max(S) / 2``: take an accurate table, such as eight
            steps of Polar Express (five steps ripple by 13 %). A matrix with a Frobenius norm over 1000 b is scaled
            down to it first, so that the cap holds where the difference of large matrices would leave noise alone.

    Raises:
        ValueError: for a maximum that is not positive, or a minimum outside [0, maximum].

    References:
        arXiv 2507.13338; F. L. Cesista, Fast, numerically stable spectral clipping (2025).

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> om.linalg.SpectralClip(1.0).apply(jnp.diag(jnp.array([3.0, -0.5]))).diagonal().round(3).tolist()
        [1.0, -0.5]
    """

    maximum: Number
    minimum: Number = 0.0
    orthogonalizer: SpectralMap | None = None

    def __post_init__(self):
        """Raise on an empty interval."""
        require_positive("SpectralClip", maximum=self.maximum)
        require_not_negative("SpectralClip", minimum=self.minimum)
        if is_known(self.minimum) and is_known(self.maximum) and float(self.minimum) > float(self.maximum):
            raise ValueError(f"SpectralClip: minimum {self.minimum} exceeds maximum {self.maximum}")

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Clip the spectrum, or say what the identity makes of it with an inexact orthogonaliser."""
        if self.orthogonalizer is None:
            low, high = (jnp.asarray(bound, s.dtype) for bound in (self.minimum, self.maximum))
            return jnp.where(numerical_rank(s), jnp.clip(s, low, high), 0)
        sign, reach = self.orthogonalizer.scalar, self._reach(s, (-1,))
        s = s * jnp.minimum(1, reach)
        o = sign(s)

        def reflected(bound):
            """As in ``by_products``, on the spectrum ``(*batch, r)``."""
            gap = bound - o * s
            return jnp.sign(gap) * sign(jnp.abs(gap)) * (bound * o - s)

        return self._assemble(o, s, reflected, reach)

    def by_products(self, orthogonalizer: SpectralMap, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Evaluate the identity."""
        # Far over the cap the identity is a difference of huge matrices; scaled down first, all that counts is clipped
        # anyway.
        reach = self._reach(x, (-2, -1))
        x = x * jnp.minimum(1, reach)
        o = orthogonalizer.apply(x)
        h = FLOAT32.matmul(o, jnp.conj(x.mT))
        # O X^T is symmetric only for an exact polar factor; the sign of a matrix that is not quite would leave the
        # identity.
        h, identity = (h + jnp.conj(h.mT)) / 2, jnp.eye(x.shape[-2], dtype=x.dtype)

        def reflected(bound):
            """Return ``sign(bound I - H) (bound O - X)``, ``(*batch, m, n)``."""
            sign = orthogonalizer.apply(jnp.broadcast_to(bound * identity, h.shape) - h)
            return FLOAT32.matmul(sign, bound * o - x)

        return self._assemble(o, x, reflected, reach)

    def _assemble(self, o: Array, x: Array, reflected: Any, reach: Array) -> Array:
        """Join the reflections of the identity above; ``x`` is a matrix or a spectrum."""
        low, high = (jnp.asarray(bound, jnp.real(x).dtype) for bound in (self.minimum, self.maximum))
        if not (is_known(self.minimum) and float(self.minimum) == 0):
            return ((low + high) * o + reflected(low) - reflected(high)) / 2
        # At minimum 0 the reflection of X is -X, whatever the orthogonaliser. A matrix that is within the cap passes as
        # it is: the identity would leave rounding of the cap's size on it, however small it is.
        return jnp.where(reach >= WIDEST, x, (high * o + x - reflected(high)) / 2)

    def _reach(self, x: Array, axes: tuple[int, ...]) -> Array:
        """How many times ``WIDEST`` caps exceed the Frobenius norm."""
        size = one_if_zero(largest_entry(x, axes))
        norm = length(quotient(x, size), axes)
        # Divided in two steps: the norm itself can overflow.
        reach = quotient(WIDEST * jnp.asarray(self.maximum, norm.dtype), size) / one_if_zero(norm)
        return jnp.where(norm == 0, jnp.inf, reach)
