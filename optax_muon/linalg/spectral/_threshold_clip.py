"""Clip singular values at a threshold of each matrix's own."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp
from optax_muon.linalg.spectral._by_svd import decompose, recompose
from optax_muon.linalg.spectral._thresholds import Threshold
from optax_muon.linalg.subspace._low_rank import RandomizedSVD


@dataclasses.dataclass(frozen=True)
class ThresholdClip(MatrixOp):
    r"""Clip singular values at a threshold that may follow each matrix's past.

    Use it on gradients, through `transforms.clip_by_spectral_norm`.

    .. math::
        U \min(S, \tau_t) V^T

    A matrix whose spectral norm is within the threshold passes bit for bit.

    Args:
        threshold: tau, a `Threshold`.

    State: the threshold's.

    References:
        Yukhimchuk et al., Gradient Clipping Beyond Vector Norms, arXiv 2605.11838.
    """

    commutes_with_transpose: ClassVar[bool] = True
    commutes_with_padding: ClassVar[bool] = True

    threshold: Threshold

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Make the threshold's state, one entry per matrix of the stack."""
        return self.threshold.init(shape[:-2], accumulator_dtype(jnp.finfo(dtype).dtype))

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Clip every matrix and take up its norm."""
        del key
        self.check_others(x, others)
        require_inexact(x, "ThresholdClip")
        if 0 in x.shape:
            return x, carry, Info()
        u, s, vh = decompose(x)
        tau, carry = self.threshold.step(s[..., 0], carry)
        clipped = recompose(u, jnp.minimum(s, tau[..., None]), vh).astype(x.dtype)
        # Untouched where nothing is clipped: a decomposition put together again would round every gradient.
        return jnp.where((s[..., 0] <= tau)[..., None, None], x, clipped), carry, Info()


@dataclasses.dataclass(frozen=True)
class SketchedThresholdClip(MatrixOp):
    r"""`ThresholdClip` of the largest singular values alone, found in a random subspace.

    .. math::
        G + U_r \operatorname{diag}(\min(S_r, \tau_t) - S_r) V_r^T

    Use it on large matrices: it is exact, up to the sketch, while at most ``svd.rank`` singular values exceed the
    threshold. The difference leaves rounding of about ``1e-7 max(S)`` in float32.

    Args:
        threshold: tau, a `Threshold`.
        svd: the decomposition.

    State: the threshold's.

    References:
        Yukhimchuk et al., Gradient Clipping Beyond Vector Norms, arXiv 2605.11838.
    """

    needs_key: ClassVar[bool] = True

    threshold: Threshold
    svd: RandomizedSVD = RandomizedSVD()

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Make the threshold's state, one entry per matrix of the stack."""
        return ThresholdClip(self.threshold).init(shape, dtype)

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Clip every matrix and take up its norm."""
        self.check_others(x, others)
        require_inexact(x, "SketchedThresholdClip")
        if 0 in x.shape:
            return x, carry, Info()
        u, s, vh = self.svd.apply(x, key)
        tau, carry = self.threshold.step(s[..., 0], carry)
        # A difference, for the sketch does not see the rest of the matrix: what it missed passes unclipped.
        excess = jnp.minimum(tau[..., None] - s, 0)
        y = x.astype(accumulator_dtype(x.dtype)) + FLOAT32.matmul(u * excess[..., None, :], vh)
        return y.astype(x.dtype), carry, Info()
