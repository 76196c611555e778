"""Directions in which orthonormal weights stay orthonormal."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, squarable
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg.constrained._constraint import Constraint, Equations
from optax_muon.linalg.orthogonal._best import best
from optax_muon.linalg.orthogonal._coefficients import POLAR_EXPRESS_MANIFOLDS_2025


@dataclasses.dataclass(frozen=True)
class Stiefel(Constraint):
    r"""Stay tangent to the matrices with orthonormal vectors on the shorter side.

    Use it for weights whose singular values should all be one: neither signals nor gradients shrink or grow.

    .. math::
        L(D) = W^T D + D^T W, \qquad L^*(\Lambda) = 2 W \Lambda, \qquad W^T W = I

    for matrices with more rows than columns, and their transposes otherwise.

    The first multipliers make the plain projection :math:`X - \tfrac12 W (W^T X + X^T W)`: without a step the direction
    is that of SPEL.

    References:
        Bernstein, Modular Manifolds, Thinking Machines (2025), github.com/thinking-machines-lab/manifolds.
    """

    size: ClassVar[float] = 4.0
    guess: ClassVar[float] = 1.0

    def multipliers(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return one symmetric matrix of the shorter side."""
        return (*shape[:-2], min(shape[-2:]), min(shape[-2:]))

    def equations(self, weights: Float[Array, "*batch m n"] | None, state: Mapping[str, Array]) -> Equations:
        """Set up the equations from the longer side."""
        del state
        assert weights is not None
        # Of no account near the manifold; weights of 1e30 would overflow in the adjoint of the residual.
        weights = squarable(weights, 0.25)
        # Equal sides take the inputs' side, as papers do, whose W^T W is that for (output, reduction).
        wide = weights.shape[-2] <= weights.shape[-1]

        def residual(d: Array) -> Array:
            """Return ``(*batch, k, k)``, symmetric."""
            product = FLOAT32.matmul(weights, d.mT) if wide else FLOAT32.matmul(weights.mT, d)
            return product + product.mT

        def adjoint(multipliers: Array) -> Array:
            """Return ``(*batch, m, n)``."""
            return 2 * (FLOAT32.matmul(multipliers, weights) if wide else FLOAT32.matmul(weights, multipliers))

        return Equations(residual, adjoint, {})


def nearest_orthonormal() -> SpectralMap:
    """Make the orthogonaliser that brings weights back."""
    # In float32 on every platform: bfloat16 would round the weights themselves, and lose every step below 2^-8.
    return best(POLAR_EXPRESS_MANIFOLDS_2025, arithmetic=FLOAT32)
