"""OrScale-LM."""

import optax

from optax_muon import shapes
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap
from optax_muon.optimizers._orscale import orscale


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "1"),
    chain="nesterov_heavy_ball -> orthogonalize -> scale_by_shape -> decay -> scale_by_matrix_trust_ratio -> "
    "learning rate",
    renamed={"epsilon": "eps", "clip": ("min_ratio", "max_ratio")},
)
def orscale_lm(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    min_ratio: Number = 0.1,
    max_ratio: Number = 5.0,
    calibration: shapes.ShapeScale | None = None,
    eps: float = 1e-6,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Run `orscale` with the settings for language models: calibrated, clipped to [0.1, 5], scaled as AdamW's updates.

    The first step is that of Muon with `shapes.RMSMatch(0.2)` in every matrix.

    Args:
        learning_rate: the relative change of a matrix per step; 0.02 is the authors'.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        weight_decay: lambda, part of the direction whose norm is taken.
        shape_scale: s, an object of `optax_muon.shapes`.
        min_ratio: the smallest ratio.
        max_ratio: the largest.
        calibration: the factor of the shape that calibrates where a norm is under ``eps``; None: ``shape_scale``.
        eps: keeps the ratio finite.

    References:
        Lou and You, OrScale, arXiv 2605.07815.
    """
    return orscale(
        learning_rate,
        orthogonalizer=orthogonalizer,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        min_ratio=min_ratio,
        max_ratio=max_ratio,
        calibration=shape_scale if calibration is None else calibration,
        eps=eps,
        leaves=leaves,
        placement=placement,
        state_dtype=state_dtype,
    )
