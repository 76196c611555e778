"""Exact polar factors, for references and for matrices small enough to afford them."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg._decompositions import svd
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import divide_by_largest_entry
from optax_muon.linalg.orthogonal._normalizer import Frobenius


@dataclasses.dataclass(frozen=True)
class SVDPolar(SpectralMap):
    """The polar factor ``U V^T`` over the numerical rank, by singular value decomposition.

    Use it as a reference, and on small matrices where exactness matters more than time. Singular values below
    ``max(m, n) * eps * s_max`` count as zero and map to zero, so a rank-deficient matrix gives a
    partial isometry and no noise on its null space. Low-precision input is decomposed in float32.

    Cost: about 20 times a five-step Newton-Schulz on a CPU; far worse on an accelerator.
    """

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Orthogonalise every matrix; the result has the dtype of ``x``."""
        require_inexact(x, "SVDPolar")
        if 0 in x.shape:
            return x
        u, s, vh = svd(divide_by_largest_entry(x))
        kept = self._rank_mask(s, max(x.shape[-2:]))
        # HIGHEST: the default is one bfloat16 pass on a TPU, which would undo the point of an exact factor.
        return jnp.matmul(u * kept[..., None, :], vh, precision="highest").astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Map singular values above the cutoff of a square matrix to one; ``apply`` knows the longer side too."""
        return self._rank_mask(s, s.shape[-1])

    @staticmethod
    def _rank_mask(s: Array, longest: int) -> Array:
        """Ones where singular values ``(*batch, r)`` count, zeros elsewhere."""
        cutoff = longest * jnp.finfo(accumulator_dtype(s.dtype)).eps * jnp.max(s, axis=-1, keepdims=True)
        # NaN must stay NaN: a comparison alone would turn a broken matrix into a silent zero.
        return jnp.where(jnp.isnan(s), s, (s > cutoff).astype(s.dtype))


@dataclasses.dataclass(frozen=True)
class QDWHPolar(SpectralMap):
    r"""The polar factor ``U V^T`` over the numerical rank, by the QR-based dynamically weighted Halley iteration.

    Use it where a singular value decomposition is slow, as on a TPU: it needs QR and Cholesky factors and products.
    The iteration alone leaves noise of norm up to 1 on the null space; a projector onto the row space removes it:

    .. math::
        X = Q H, \qquad P_0 = X^T X (X^T X + \tau^2 I)^{-1}, \quad P \leftarrow 3 P^2 - 2 P^3, \qquad Y = Q P, \qquad
        \tau = \max(m, n, 16) \, \epsilon \, \|X\|_F

    Singular values below ``tau / 2`` map to zero and those above ``2 tau`` to one; in between, anywhere in between.
    Low-precision input is decomposed in float32.

    References:
        Nakatsukasa, Bai, Gygi, SIAM J. Matrix Anal. Appl. 31 (2010); `jax.lax.linalg.qdwh`.
    """

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Orthogonalise every matrix; the result has the dtype of ``x``."""
        require_inexact(x, "QDWHPolar")
        if 0 in x.shape:
            return x
        wide = x.shape[-2] < x.shape[-1]
        # QDWH starts from a bound on the norm; at Frobenius norm 1 the cutoff below is a plain number as well.
        y = Frobenius().apply(x.mT if wide else x)
        # One at a time: every matrix stops when it has converged, and the workspace is that of one.
        y = jax.lax.map(_polar, y.reshape(-1, *y.shape[-2:])).reshape(y.shape)
        return (y.mT if wide else y).astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Map singular values above the cutoff to one."""
        cutoff = _cutoff(s.shape[-1], s.dtype) * jnp.linalg.norm(s, axis=-1, keepdims=True)
        return jnp.where(jnp.isnan(s), s, (s > cutoff).astype(s.dtype))


def _cutoff(longest: int, dtype: jax.typing.DTypeLike) -> float:
    """Smallest relative singular value that counts: ``max(longest, 16) * eps`` of the accumulator's dtype."""
    # At least 16: a QR factor is known to a few eps, however small the matrix.
    return max(longest, 16) * float(jnp.finfo(accumulator_dtype(dtype)).eps)


def _polar(x: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Decompose one matrix of Frobenius norm 1 with m >= n."""
    identity, cutoff = jnp.eye(x.shape[-1], dtype=x.dtype), _cutoff(len(x), x.dtype)
    # X = Q1 R and cutoff I = Q2 R, so Q2 Q2^H = cutoff^2 (X^H X + cutoff^2 I)^-1 without ever squaring X.
    q2 = jnp.linalg.qr(jnp.concatenate([x, cutoff * identity]))[0][len(x) :]
    projector = identity - FLOAT32.gram(q2)
    # The cubic with fixed points 0 and 1 takes 0.2 and 0.8, half and twice the cutoff, to them within float64.
    for _ in range(7):
        square = FLOAT32.matmul(projector, projector)
        projector = 3 * square - 2 * FLOAT32.matmul(square, projector)
    return FLOAT32.matmul(jax.lax.linalg.qdwh(x)[0], projector)
