"""Exact polar factors, for references and for matrices small enough to afford them."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype, require_inexact
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._normalize import divide_by_largest_entry


@dataclasses.dataclass(frozen=True)
class SVDPolar(SpectralMap):
    """The polar factor ``U V^T`` over the numerical rank, by singular value decomposition.

    Singular values below ``max(m, n) * eps * s_max`` count as zero and map to zero, so a rank-deficient matrix gives
    a partial isometry and no noise on its null space. Low-precision input is decomposed in float32.

    Cost: about 20 times a five-step Newton-Schulz on a CPU; far worse on an accelerator.
    """

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Orthogonalise every matrix; the result has the dtype of ``x``."""
        require_inexact(x, "SVDPolar")
        if 0 in x.shape:
            return x
        u, s, vh = jnp.linalg.svd(divide_by_largest_entry(x), full_matrices=False)
        kept = self._rank_mask(s, max(x.shape[-2:]))
        # HIGHEST: the default is one bfloat16 pass on a TPU, which would undo the point of an exact factor.
        return jnp.matmul(u * kept[..., None, :], vh, precision="highest").astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Map nonzero singular values to one."""
        return self._rank_mask(s, s.shape[-1])

    @staticmethod
    def _rank_mask(s: Array, longest: int) -> Array:
        cutoff = longest * jnp.finfo(accumulator_dtype(s.dtype)).eps * jnp.max(s, axis=-1, keepdims=True)
        # NaN must stay NaN: a comparison alone would turn a broken matrix into a silent zero.
        return jnp.where(jnp.isnan(s), s, (s > cutoff).astype(s.dtype))
