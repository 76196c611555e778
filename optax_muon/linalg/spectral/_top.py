"""Keep the largest singular values alone."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._inputs import require_rank
from optax_muon.linalg.spectral._by_svd import ExactMap, by_size


@dataclasses.dataclass(frozen=True)
class TopRank(ExactMap):
    r"""Truncate to the best approximation of a given rank.

    Use it to drop the directions of noise, or with `BySVD` as a reference for sketches.

    .. math::
        \sum_{i \le r} s_i \, u_i v_i^T

    Args:
        rank: r >= 1; a matrix with a shorter side than that is an error. Of equal singular values at the edge, which
            ones stay is left to the decomposition.

    Raises:
        ValueError: for a rank below 1, or, from ``apply``, one above the shorter side.
    """

    rank: int

    def __post_init__(self):
        """Raise on an empty approximation."""
        if self.rank < 1:
            raise ValueError(f"TopRank: rank must be >= 1, not {self.rank}")

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Truncate every matrix; the result has the dtype of ``x``."""
        require_rank("TopRank", self.rank, x)
        return super().apply(x)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Keep the largest ``rank`` values."""
        return jnp.where(by_size(s) < self.rank, s, 0)
