"""Polynomials that touch 1 at the singular value 1, and the normaliser that leaves small matrices small."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon._numbers import require_whole
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import MATRIX, length, unit_length
from optax_muon.linalg.orthogonal._normalizer import Normalizer
from optax_muon.linalg.orthogonal._table import Coefficients


@dataclasses.dataclass(frozen=True)
class AtMostOne(Normalizer):
    r"""Divide by the Frobenius norm where it exceeds 1, and leave smaller matrices as they are.

    Use it where a matrix that is mostly noise shall not be blown up to full size, as in private training: an iteration
    after it lifts a small matrix by its table's slope at most.

    .. math:: Y = X / \max(1, \|X\|_F)

    References:
        Kim and Fan, DP-Muon, arXiv 2605.12994.
    """

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Scale to a Frobenius norm of at most 1."""
        return _shrunk(x.astype(accumulator_dtype(x.dtype)), MATRIX) if x.size else x

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Divide the spectrum by its Euclidean norm, where that exceeds 1."""
        return _shrunk(s, -1) if s.shape[-1] else s


def _shrunk(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Divide by what the length along axes exceeds 1 by."""
    # Not a maximum, which may drop a NaN that must be seen; and no division by the length, which is infinite at the end
    # of the range though every entry is a number.
    return jnp.where(length(x, axis) < 1, x, unit_length(x, axis))


def taylor_coefficients(kappa: int = 2, steps: int = 5) -> Coefficients:
    r"""Make the table of DP-Muon: one polynomial, the series of :math:`x^{-1/2}` about 1, again and again.

    .. math::
        p_\kappa(x) = \sum_{s=0}^{\kappa} \frac{(2s)!}{4^s s!^2} (1 - x)^s, \qquad Y \leftarrow p_\kappa(Y Y^T) Y

    One and two are the classical cubic and quintic, (1.5, -0.5) and (1.875, -1.25, 0.375). No singular value passes
    1, and tiny ones are lifted by ``p(0)`` a step; the table comes with `AtMostOne`.

    Args:
        kappa: terms beyond the first, one or more.
        steps: how often it is applied.

    Raises:
        ValueError: for numbers below 1.

    References:
        Kim and Fan, DP-Muon, arXiv 2605.12994.

    Example:
        >>> import optax_muon as om
        >>> om.linalg.taylor_coefficients(2, steps=1).rows
        ((1.875, -1.25, 0.375),)
    """
    require_whole("taylor_coefficients: kappa", kappa)
    require_whole("taylor_coefficients: steps", steps)
    series = [math.comb(2 * s, s) / 4**s for s in range(kappa + 1)]
    row = np.polynomial.Polynomial(series)(np.polynomial.Polynomial([1, -1])).coef
    return Coefficients(
        f"TAYLOR_{kappa}",
        (tuple(float(c) for c in row),) * steps,
        "Kim and Fan, DP-Muon, arXiv 2605.12994",
        normalize=AtMostOne(),
    )
