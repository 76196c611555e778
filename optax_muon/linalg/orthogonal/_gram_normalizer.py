"""Pre-normalisers that read the Gram matrix, which the iteration's first step needs anyway."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, Arithmetic
from optax_muon.linalg._scale import one_if_zero, square_root, sum_of_squares
from optax_muon.linalg.orthogonal._normalizer import Frobenius, Normalizer


class GramNormalizer(Normalizer):
    """Scales by a function of the shorter side's Gram matrix ``X X^H``; inside an iteration it costs no product."""

    @abc.abstractmethod
    def divisor(self, gram: Float[Array, "*batch m m"]) -> Float[Array, "*batch rows 1"]:
        """Say what to divide the matrix by, or each of its rows (rows = m); 1 where it would be zero."""

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Scale every matrix; its shorter side is the one whose Gram matrix is read."""
        tall = x.shape[-2] > x.shape[-1]
        y, _ = self.prepare(x.mT if tall else x, FLOAT32)
        return y.mT if tall else y

    def prepare(
        self, x: Float[Array, "*batch m n"], arithmetic: Arithmetic
    ) -> tuple[Float[Array, "*batch m n"], Float[Array, "*batch m m"]]:
        """Scale, and give the Gram matrix of the result."""
        # The Frobenius norm first: the Gram matrix of 1e30 overflows, that of 1e-30 is zero.
        x = Frobenius().apply(x).astype(arithmetic.working_dtype(x.dtype))
        gram = arithmetic.gram(x)
        divisor = self.divisor(gram)
        # What the scaled matrix's own Gram matrix is, without a product.
        return x / divisor, gram / divisor / divisor.mT


@dataclasses.dataclass(frozen=True)
class Schatten4(GramNormalizer):
    """Divide by the Schatten-4 norm, ``sqrt(||X X^T||_F)``, which bounds the spectral norm more closely.

    Use it for accuracy without cost: on a random square matrix of size m it is larger than the spectral norm by about
    ``(m / 8)^(1/4)``, the Frobenius norm by ``(m / 4)^(1/2)``, which saves about one step of an iteration.
    """

    def divisor(self, gram: Float[Array, "*batch m m"]) -> Float[Array, "*batch 1 1"]:
        """Return the Schatten-4 norm."""
        # ||X X^T||_F^2 is the sum of s^4.
        return one_if_zero(square_root(square_root(sum_of_squares(gram))))

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Divide the spectrum by its 4-norm."""
        s = Frobenius().scalar(s)
        return s / one_if_zero(square_root(square_root(jnp.sum(s**4, axis=-1, keepdims=True))))


@dataclasses.dataclass(frozen=True)
class AOL(GramNormalizer):
    r"""Divide every row of the shorter side by the root of its absolute row sum in the Gram matrix.

    Use it with the tables made for it: it spreads the rows' norms evenly, which lets four steps do for a random
    matrix what five do otherwise. Gershgorin's circles keep the spectral norm at most 1.

    .. math::
        X_{i\cdot} \leftarrow X_{i\cdot} \Big/ \sqrt{\textstyle\sum_j |(X X^T)_{ij}|}

    It changes the singular vectors: the result of an iteration is near the polar factor of the *scaled* matrix. Rows
    and columns are not alike to it, so there is no image of a spectrum and a square matrix does not commute with
    transposition.

    References:
        Prach and Lampert, arXiv 2208.03160; Boissin et al., Turbo-Muon, arXiv 2512.04632.
    """

    commutes_with_transpose: ClassVar[bool] = False
    commutes_with_padding: ClassVar[bool] = False

    def divisor(self, gram: Float[Array, "*batch m m"]) -> Float[Array, "*batch m 1"]:
        """Return the root of every absolute row sum."""
        return one_if_zero(square_root(jnp.sum(jnp.abs(gram), axis=-1, keepdims=True)))

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Raise: the spectrum alone does not say."""
        raise ValueError(
            "AOL: normalize scales rows one by one, so a spectrum alone has no image; use Frobenius or Schatten4"
        )


@dataclasses.dataclass(frozen=True)
class PowerIteration(GramNormalizer):
    r"""Divide by an estimate of the spectral norm, times a margin, but never by more than the Schatten-4 norm.

    Use it where small singular values matter more than a guarantee: a power iteration approaches the norm from below.
    From ``k`` steps at a start whose best column has overlap ``c`` with the top singular vector, the estimate is at
    least ``c^(1/(k+1))`` of the squared norm; 16 steps and a margin of 1.15 hold for any spectrum down to c = 1/100.
    The start is four fixed columns of noise, the same for every matrix, so no key is needed and runs repeat.

    Args:
        steps: products with the Gram matrix, ``8 m^2`` FLOPs each.
        margin: factor on the estimate, at least 1.

    Raises:
        ValueError: for steps below 1, or a margin that is not a finite number of at least 1.
    """

    commutes_with_transpose: ClassVar[bool] = False
    commutes_with_padding: ClassVar[bool] = False
    steps: int = 16
    margin: float = 1.15

    def __post_init__(self):
        """Raise on a loop without a step and a margin below 1."""
        if self.steps < 1:
            raise ValueError(f"PowerIteration: steps must be >= 1, not {self.steps}")
        if not 1 <= self.margin < np.inf:
            raise ValueError(f"PowerIteration: margin must be a number >= 1, not {self.margin}")

    def divisor(self, gram: Float[Array, "*batch m m"]) -> Float[Array, "*batch 1 1"]:
        """Return the estimate with its margin."""
        # One block of columns filled row by row: a padded matrix starts from the same numbers.
        start = np.random.default_rng(0).standard_normal((gram.shape[-1], 4))

        def grow(v):
            """Multiply the columns ``(*batch, m, 4)`` by the Gram matrix; return their norms ``(*batch, 1, 4)`` too."""
            v = FLOAT32.matmul(gram, v)
            return v, square_root(jnp.sum(jnp.real(v * jnp.conj(v)), axis=-2, keepdims=True))

        def step(_, v):
            """Take one power step; columns that vanish stay zero."""
            v, size = grow(v)
            return v / one_if_zero(size)

        # The first step is outside the loop: its product gives the columns the sharding that the loop keeps.
        v = step(0, jnp.asarray(start, gram.dtype))
        _, size = grow(jax.lax.fori_loop(1, self.steps, step, v))
        estimate = one_if_zero(square_root(jnp.max(size, axis=-1, keepdims=True)) * self.margin)
        # An estimate from below, times a margin, may exceed the rigorous bound that the same Gram matrix gives for
        # nothing.
        return jnp.minimum(estimate, Schatten4().divisor(gram))

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Divide the spectrum as an exact estimate would; the iteration's own may be a little smaller."""
        s = Frobenius().scalar(s)
        estimate = one_if_zero(jnp.max(s, axis=-1, keepdims=True)) * self.margin
        return s / jnp.minimum(estimate, one_if_zero(square_root(square_root(jnp.sum(s**4, axis=-1, keepdims=True)))))
