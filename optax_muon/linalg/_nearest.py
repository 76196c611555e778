"""Directions brought to the length that fits the matrix best."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import largest_entry, length, one_if_zero, quotient


@dataclasses.dataclass(frozen=True)
class NearestMultiple(SpectralMap):
    r"""The multiple of a map's direction that is nearest to the matrix, a contractive compressor.

    Use it as the compressor of `transforms.error_feedback` or `transforms.follow`, which need a contraction.

    .. math::
        C(X) = \frac{\langle X, D \rangle}{\langle D, D \rangle} D, \qquad
        \|X - C(X)\|_F^2 = \|X\|_F^2 - \frac{\langle X, D \rangle^2}{\langle D, D \rangle}

    With an exact polar factor D this is :math:`\|X\|_* / \operatorname{rank}(X) \cdot \operatorname{orth}(X)`; with an
    inexact one it is still a contraction, which that formula would not be.

    Args:
        direction: the map that gives D.

    Raises:
        ValueError: from ``apply``, for an array that is no stack of matrices.
        TypeError: from ``apply``, for integer matrices.

    References:
        Parshakova et al., EF-Muon, arXiv 2605.08980.
    """

    direction: SpectralMap

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Compress every matrix."""
        require_inexact(x, "NearestMultiple")
        wide = accumulator_dtype(x.dtype)
        if 0 in x.shape:
            return x
        # Measured in units of the largest entry: <X, D> of a matrix of 1e30 overflows, and that of 1e-40 is a
        # subnormal.
        unit = one_if_zero(largest_entry(x.astype(wide)))
        scaled, d = quotient(x.astype(wide), unit), self.direction.apply(x).astype(wide)
        along = jnp.sum(jnp.real(scaled * jnp.conj(d)), axis=(-2, -1), keepdims=True)
        square = jnp.sum(jnp.real(d * jnp.conj(d)), axis=(-2, -1), keepdims=True)
        return (along / jnp.where(square == 0, 1, square) * d * unit).astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Fit the direction's spectrum to ``s``."""
        d = self.direction.scalar(s)
        # The direction is inexact, so its own squares count here, not the rank: with the rank it would be no
        # contraction.
        square = jnp.sum(d * d, axis=-1, keepdims=True)
        return jnp.sum(s * d, axis=-1, keepdims=True) / jnp.where(square == 0, 1, square) * d


@dataclasses.dataclass(frozen=True)
class OfSameNorm(SpectralMap):
    r"""A map's direction, multiplied by the Frobenius norm of the matrix: ``||X||_F D(X)``.

    Use it where a step should shrink with the gradient and only its spectrum is to be even.

    Args:
        direction: the map that gives D.

    References:
        Yuan, OptMuon, arXiv 2606.08783.
    """

    direction: SpectralMap

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Map every matrix."""
        require_inexact(x, "OfSameNorm")
        if 0 in x.shape:
            return x
        wide = x.astype(accumulator_dtype(x.dtype))
        return (length(wide) * self.direction.apply(x).astype(wide.dtype)).astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Multiply the direction's spectrum by the norm of ``s``."""
        return length(s, -1) * self.direction.scalar(s)
