"""One step of power iteration on a subspace that is kept between steps."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_whole
from optax_muon._renamed import renamed_fields
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, summable
from optax_muon.linalg._decompositions import orthonormal
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp
from optax_muon.linalg._scale import largest_entry, length, one_if_zero, quotient
from optax_muon.linalg.subspace._rank_fraction import RankFraction


@renamed_fields(epsilon="eps")
@dataclasses.dataclass(frozen=True)
class PowerStep(MatrixOp):
    r"""Follow the leading singular directions by one power step a call; return a near-orthogonal rank-k matrix.

    Use it, through `transforms.low_rank_momentum`, for updates of low rank.

    Written for matrices X as (m, n), X^H here being a stack's (reduction, output):

    .. math::
        P = \operatorname{qr}(X^H Q), \qquad R = X P, \qquad
        Q \leftarrow R \operatorname{diag}(\|R_j\| + \epsilon \max_i \|R_i\|)^{-1}, \qquad Y = Q P^H

    Repeated on one matrix Y tends to the polar factor of its best rank-k approximation. ``info.factors`` is
    :math:`(R, \bar P)`: :math:`R P^H` is the part of X that was seen.

    Args:
        rank: k, reduced to min(m, n) where that is smaller, or a `RankFraction`.
        eps: columns that are short beside the longest stay short; a part of its length.
        seed: of the first Q, normal numbers, the same for every matrix of one shape.
        steps: of power iteration a call: P and R are computed as often, each from the R before.

    Raises:
        ValueError: for a rank or steps that are no whole numbers of at least 1.

    State: k floats per row of X.

    References:
        Ahn et al., Dion, arXiv 2504.05295, github.com/microsoft/dion.
    """

    rank: int | RankFraction
    eps: float = 1e-8
    seed: int = 0
    steps: int = 1

    def __post_init__(self):
        """Raise on a rank or a number of steps below one."""
        if not isinstance(self.rank, RankFraction):
            require_whole("PowerStep: rank", self.rank)
        require_whole("PowerStep: steps", self.steps)

    def init(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Draw Q, ``(*batch, m, k)``, in float32 or wider."""
        *batch, m, n = shape
        rank = self.rank.of(m, n) if isinstance(self.rank, RankFraction) else min(self.rank, m, n)
        size = (m, rank)
        start = jax.random.normal(jax.random.key(self.seed), size, accumulator_dtype(dtype))
        return jnp.broadcast_to(start, (*batch, *size))

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Array, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], Array, Info]:
        """Take one step for every matrix; the result has the dtype of ``x``."""
        del key
        self.check_others(x, others)
        require_inexact(x, "PowerStep")
        if 0 in x.shape:
            return (
                x,
                carry,
                Info(factors=(carry, jnp.zeros((*x.shape[:-2], x.shape[-1], carry.shape[-1]), carry.dtype))),
            )
        wide = summable(x.astype(carry.dtype))
        # In the state's dtype, float32 or wider, as in Dion's code: the QR is what everything else rests on.
        unit = one_if_zero(largest_entry(wide))
        scaled = quotient(wide, unit)
        p, r = _iterated(scaled, carry)
        for _ in range(self.steps - 1):
            p, r = _iterated(scaled, r)
        # Columns are normalised, not orthogonalised: one QR a step is enough, the next step's makes P orthogonal.
        lengths = length(r, -2)
        q = r / one_if_zero(lengths + self.eps * jnp.max(lengths, axis=-1, keepdims=True))
        return FLOAT32.matmul(q, jnp.conj(p.mT)).astype(x.dtype), q, Info(factors=(r * unit, jnp.conj(p)))


def _iterated(x: Array, q: Array) -> tuple[Array, Array]:
    """Take one step of power iteration from Q: P, orthonormal, and R, whose columns have the size of X."""
    p = orthonormal(FLOAT32.matmul(jnp.conj(x.mT), q))
    return p, FLOAT32.matmul(x, p)
