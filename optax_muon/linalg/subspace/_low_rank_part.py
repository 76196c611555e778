"""The part of a matrix in a subspace that follows it, sent as two thin factors."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg._map import Info, MessageOp
from optax_muon.linalg.subspace._power_step import PowerStep
from optax_muon.linalg.subspace._rank_fraction import RankFraction


@dataclasses.dataclass(frozen=True)
class LowRankPart(MessageOp):
    r"""Project on the leading singular directions as one power step a call finds them: PowerSGD's compressor.

    Use it, through `transforms.low_rank`, where a message is to be small: it is a projection, and so a contraction.

    .. math::
        P = \operatorname{qr}(X^T Q), \qquad R = X P, \qquad C(X) = R P^T, \qquad Q \leftarrow R

    Args:
        rank: k, reduced to min(m, n) where that is smaller, or a `RankFraction`.
        seed: of the first Q.

    Raises:
        ValueError: for a rank that is no whole number of at least 1.

    State: k floats per row of X.

    References:
        Vogels et al., PowerSGD, arXiv 1905.13727.
    """

    rank: int | RankFraction
    seed: int = 0

    def __post_init__(self):
        """Raise on a rank below one."""
        PowerStep(self.rank)

    def init(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw the first subspace."""
        return PowerStep(self.rank, seed=self.seed).init(shape, dtype)

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Array, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], Array, Info]:
        """Project every matrix, and turn the subspace towards it."""
        self.check_others(x, others)
        _, carry, info = PowerStep(self.rank, seed=self.seed).apply(x, carry, key=key)
        # In the dtype of the matrix, as they are sent; and the result is made of what is sent.
        sent = tuple(a.astype(x.dtype) for a in info.factors)
        return self.decode(sent, (), x.shape), carry, Info(factors=info.factors, message=(sent, ()))

    def decode(self, sent: Any, common: Any, shape: tuple[int, ...]) -> Float[Array, "*batch m n"]:
        """Multiply the factors."""
        del common
        a, b = sent
        if 0 in shape:
            return jnp.zeros(shape, a.dtype)
        wide = accumulator_dtype(a.dtype)
        return FLOAT32.matmul(a.astype(wide), b.astype(wide).mT).astype(a.dtype)
