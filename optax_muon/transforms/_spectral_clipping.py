"""Clip gradients by their singular values."""

import optax

from optax_muon._numbers import require_positive
from optax_muon._types import Number
from optax_muon.linalg import ConstantThreshold, RandomizedSVD, SketchedThresholdClip, Threshold, ThresholdClip
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import apply_to_matrices


def clip_by_spectral_norm(
    threshold: Threshold | Number,
    *,
    svd: RandomizedSVD | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Clip every singular value of every matrix at a threshold of its own.

    Use it in front of any optimizer where gradients are heavy tailed in a few directions: those are cut back, and the
    others pass, where clipping by a vector norm shrinks all of them. It takes hidden matrices; in front of an optimizer
    for the whole tree, wrap it: ``om.for_matrices(clip_by_spectral_norm(1.0), otherwise=optax.identity())``.

    .. math::
        G = U S V^T \mapsto U \min(S, \tau_t) V^T

    Args:
        threshold: a number or traced scalar tau > 0 in units of the gradient, or a `linalg.Threshold`:
            `linalg.MovingAverageThreshold` or `linalg.QuantileThreshold` of the matrix's own past spectral norms.
        svd: None decomposes in full; a `linalg.RandomizedSVD` finds and clips its few largest singular values.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.
        seed: of the random keys, for ``svd``.

    Raises:
        ValueError: for a threshold that is not positive; by ``init``, naming a leaf that is not a hidden matrix.

    State: a step counter, and 2 floats a matrix for `linalg.MovingAverageThreshold`, the window for
    `linalg.QuantileThreshold`.

    References:
        Yukhimchuk et al., Gradient Clipping Beyond Vector Norms, arXiv 2605.11838.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> tx = om.transforms.clip_by_spectral_norm(1.0)
        >>> grads = {"up": {"kernel": jnp.diag(jnp.array([3.0, -0.5]))}}
        >>> tx.update(grads, tx.init(grads))[0]["up"]["kernel"].diagonal().round(3).tolist()
        [1.0, -0.5]
    """
    if not isinstance(threshold, Threshold):
        require_positive("clip_by_spectral_norm", threshold=threshold)
        threshold = ConstantThreshold(threshold)
    op = ThresholdClip(threshold) if svd is None else SketchedThresholdClip(threshold, svd)
    return apply_to_matrices(op, leaves=leaves, placement=placement, seed=seed)
