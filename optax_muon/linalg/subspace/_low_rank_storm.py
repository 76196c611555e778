"""STORM's momentum, kept as a matrix of low rank."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._renamed import renamed_fields
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg._decompositions import orthonormal, svd
from optax_muon.linalg._map import Info
from optax_muon.linalg._scale import largest_entry, one_if_zero, quotient
from optax_muon.linalg.subspace._whitening import GradientOp


@renamed_fields(momentum="decay")
@dataclasses.dataclass(frozen=True)
class LowRankStorm(GradientOp):
    r"""Correct a low-rank momentum by the change of this batch's gradient, and compress the result anew (LiMuon).

    Use it, through `transforms.low_rank_storm`, where momentum of full size is too large.

    .. math::
        M_t = G_t + \mu (\hat M_{t-1} - G^{\text{prev}}_t), \qquad M_1 = G_1, \qquad
        \hat M_t = \text{randomised SVD of } M_t \text{ of rank } r

    Args:
        decay: mu.
        rank: r, at most the smaller side.
        oversampling: further columns of the sketch.
        first: set by `at`.

    References:
        Huang, Luo, Chen, LiMuon, arXiv 2509.14562, option 2.

    State: (m + n + 1) r floats for an m x n matrix.
    """

    decay: Number = 0.9
    rank: int = 8
    oversampling: int = 2
    first: Any = True
    needs_key: ClassVar[bool] = True

    def at(self, count: Array) -> "LowRankStorm":
        """Return the operation as it is at update ``count``, from zero."""
        return dataclasses.replace(self, first=count == 0)

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start from zero factors: ``left`` (m, r), ``values`` (r,) and ``right`` (r, n)."""
        (*batch, m, n), wide = shape, accumulator_dtype(dtype)
        r = min(self.rank, m, n)
        shapes = {"left": (m, r), "values": (r,), "right": (r, n)}
        # Singular values are real, whatever the matrix.
        dtypes = {"values": jnp.finfo(wide).dtype}
        return {name: jnp.zeros((*batch, *tail), dtypes.get(name, wide)) for name, tail in shapes.items()}

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Any, Info]:
        """Return M for the gradient ``x``, with ``gradient`` the one at the previous parameters on the same batch."""
        self.check_others(x, others)
        assert key is not None
        if 0 in x.shape:
            return x, carry, Info()
        wide = x.astype(accumulator_dtype(x.dtype))
        remembered = FLOAT32.matmul(carry["left"] * carry["values"][..., None, :], carry["right"])
        change = remembered - others["gradient"].astype(wide.dtype)
        # The first gradient stands alone: there are no previous parameters to correct by.
        m = wide + self.decay * jnp.where(self.first, jnp.zeros_like(change), change)
        # M is used whole; only what is kept for the next step is compressed, so the step itself loses nothing.
        return m.astype(x.dtype), self._compressed(m, key, carry["values"].shape[-1]), Info()

    def _compressed(self, m: Array, key: Array, rank: int) -> dict[str, Array]:
        """Return the factors of the best rank-``rank`` approximation that a sketch of ``m`` finds."""
        # The paper asks for at least two columns beyond the rank.
        columns = min(rank + self.oversampling, *m.shape[-2:])

        def draw(key: Array) -> Array:
            """Draw the sketch (n, columns) of one matrix."""
            return jax.random.normal(key, (m.shape[-1], columns), m.dtype)

        for _ in range(m.ndim - 2):
            draw = jax.vmap(draw)
        unit = one_if_zero(largest_entry(m))
        scaled = quotient(m, unit)
        q = orthonormal(FLOAT32.matmul(scaled, draw(key)))
        u, s, vh = svd(FLOAT32.matmul(jnp.conj(q.mT), scaled))
        left = FLOAT32.matmul(q, u[..., :rank])
        return {"left": left, "values": s[..., :rank] * unit[..., 0], "right": vh[..., :rank, :]}
