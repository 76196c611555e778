"""Powers of the singular values."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import is_known
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import divide_by_largest_entry, largest_entry, one_if_zero, quotient
from optax_muon.linalg.spectral._by_svd import ExactMap, TwoWayMap, faded, numerical_rank
from optax_muon.linalg.spectral._roots import root, root_scalar


@dataclasses.dataclass(frozen=True)
class SpectralPower(TwoWayMap):
    r"""Raise the nonzero singular values to a power, HTMuon's map.

    Use a small positive power where the heavy tail of the spectrum should survive in part; 0 is the polar factor, 1
    the identity. It is homogeneous of degree ``power``, so not scale invariant unless that is 0.

    .. math::
        U S^p V^T

    Args:
        power: p, any finite real number; with an orthogonaliser one of 1, 1/2, 1/4, ... Singular values under the
            numerical rank map to zero; for a negative power those near it fade to zero, as in a regularised
            pseudo-inverse.
        orthogonalizer: None decomposes; a map O gives ``(O X^T)^p O`` with log2(1 / p) nested square roots by a
            coupled iteration, products only. Singular values under 1e-3 of the norm are then bent upwards.

    Raises:
        ValueError: for a power that is not finite, or, with an orthogonaliser, not one of 1, 1/2, 1/4, ...

    Differs from the authors' code: its fractional power is one of ``X^T X``, which squares the condition number and
    takes one root more.

    References:
        Pang et al., HTMuon, arXiv 2603.10067.
    """

    power: Number
    orthogonalizer: SpectralMap | None = None

    def __post_init__(self):
        """Raise on a power that is not finite, and one that square roots do not reach."""
        if is_known(self.power) and not math.isfinite(self.power):
            raise ValueError(f"SpectralPower: power must be finite, not {self.power}")
        if self.orthogonalizer is not None:
            p = float(self.power) if is_known(self.power) else math.nan
            # frexp gives a mantissa of exactly 1/2 to powers of two alone. A tracer has no exponent to read, so it
            # raises too.
            if not 0 < p <= 1 or math.frexp(p)[0] != 0.5:
                raise ValueError(f"SpectralPower: an orthogonalizer takes power 1, 1/2, 1/4, ..., not {self.power}")

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Raise the spectrum to the power."""
        if self.orthogonalizer is None:
            kept, p = numerical_rank(s), jnp.asarray(self.power, s.dtype)
            weight, above = faded(s)
            # The inner choice keeps 0 ** negative out of the other branch.
            falling = weight * jnp.where(above == 0, 1, above) ** p
            return jnp.where(p < 0, falling, jnp.where(kept, jnp.where(kept, s, 1) ** p, 0))
        largest = jnp.max(s, axis=-1, keepdims=True)
        # As ``by_products``, which divides by the largest entry: the map is homogeneous, so the power comes back at the
        # end.
        s = quotient(s, one_if_zero(largest))
        o = self.orthogonalizer.scalar(s)
        return root_scalar(o * s, self._halvings) * o * one_if_zero(largest) ** self.power

    @property
    def _halvings(self) -> int:
        """Number of square roots that make the power, log2(1 / p)."""
        return 1 - math.frexp(self.power)[1]

    def by_products(self, orthogonalizer: SpectralMap, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Take the roots."""
        largest = largest_entry(x)
        x = divide_by_largest_entry(x)
        o = orthogonalizer.apply(x)
        # H = O X^T is the positive semi-definite factor of X, whose root is X's own power, not that of X^T X: the
        # condition number is not squared.
        h = FLOAT32.matmul(o, jnp.conj(x.mT))
        h = root((h + jnp.conj(h.mT)) / 2, self._halvings)
        # At zero the power itself has no derivative; the product with it is zero.
        return FLOAT32.matmul(h, o) * one_if_zero(largest) ** self.power


@dataclasses.dataclass(frozen=True)
class Freon(ExactMap):
    r"""Raise the singular values to a power, scale free.

    Use it to move between the gradient (c = 0), Muon (c = 1/2) and, past it, an inverted spectrum: small singular
    directions then get the longer steps, which its paper found best.

    .. math::
        O = U \operatorname{diag}\big( (s_i / M_q)^{q - 1} \big) V^T, \qquad q = 2 - 2 c, \quad
        M_q = \big( \tfrac1r \textstyle\sum_i s_i^q \big)^{1/q}

    At q = 0 the mean is the geometric one.

    Args:
        c: any finite real number; a number or a traced scalar.

    Raises:
        ValueError: for c that is not finite.

    Differs from the paper, whose scale was seen in third-party code alone, in two forms: this is the mean form, over
    the numerical rank r, so that c = 1/2 gives the polar factor, the Frobenius norm stays near that of it, and a
    rank-deficient matrix does not vanish as q nears 0.

    References:
        Shumaylov et al., Muon is Not That Special, arXiv 2605.11181.
    """

    c: Number

    def __post_init__(self):
        """Raise on what is not finite."""
        if is_known(self.c) and not math.isfinite(self.c):
            raise ValueError(f"Freon: c must be finite, not {self.c}")

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Raise the spectrum, divided by its power mean, to the power."""
        q = 2 - 2 * jnp.asarray(self.c, s.dtype)
        # A power that grows as s falls counts a value near rounding in part, and no further down than it is known.
        weight, above = faded(s)
        kept = numerical_rank(s)
        weight = jnp.where(q < 1, weight, kept.astype(s.dtype))
        s = jnp.where(q < 1, above, s)
        kept = ~(weight == 0)
        # In logarithms relative to the largest: no power over- or underflows, and q = 0 is a limit, not a division.
        largest = jnp.max(s, axis=-1, keepdims=True)
        logs = jnp.where(kept, jnp.log(jnp.where(kept, quotient(s, one_if_zero(largest)), 1)), 0)
        count = jnp.maximum(jnp.sum(weight, axis=-1, keepdims=True), 1)
        powers = jnp.sum(jnp.where(kept, weight * jnp.exp(q * logs), 0), axis=-1, keepdims=True) / count
        geometric = jnp.sum(weight * logs, axis=-1, keepdims=True) / count
        # Below sqrt(eps) the mean of s^q is 1 up to rounding, and its logarithm over q would be noise.
        small = jnp.abs(q) < jnp.finfo(s.dtype).eps ** 0.5
        mean = jnp.where(small, geometric, jnp.log(jnp.where(powers > 0, powers, 1)) / jnp.where(small, 1, q))
        return jnp.where(kept, weight * jnp.exp((q - 1) * (logs - mean)), 0)
