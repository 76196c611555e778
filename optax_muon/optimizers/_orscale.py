"""OrScale and OrScale-LM."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement

PAPER = "Lou and You, OrScale, arXiv 2605.07815"


@card(
    kind="matrix",
    paper=PAPER,
    confidence="EXACT",
    state="1, and 1 per matrix with calibration",
    chain="nesterov heavy ball -> orthogonalize -> scale_by_shape -> decay -> trust ratio -> learning rate",
)
def orscale(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.95,
    nesterov: bool = True,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    clip: tuple[float, float] = (0.5, 1.5),
    calibration: shapes.ShapeScale | None = None,
    epsilon: float = 1e-6,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step by a fixed fraction of every matrix's own norm along the orthogonalised momentum.

    For hidden matrices only, where layers of different norms should change at the same relative pace. While nothing
    is clipped and c = 1, each matrix changes by exactly the learning rate relative to its norm. `orscale_lm` has the
    settings for language models.

    .. math::
        M_t &= \mu M_{t-1} + G_t, \qquad D_t = \lambda W_{t-1} + s(\text{shape}) \operatorname{orth}(\mu M_t + G_t) \\
        W_t &= W_{t-1} - \eta_t \operatorname{clip}\left( \frac{\|W_{t-1}\|_F}{c \|D_t\|_F + \epsilon},
        r_{\min}, r_{\max} \right) D_t

    Args:
        learning_rate: the relative change of a matrix per step; 0.02 is the authors'.
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        weight_decay: lambda, part of the direction whose norm is taken.
        shape_scale: s, an object of `optax_muon.shapes`.
        clip: r_min and r_max.
        calibration: None: c = 1. Else c makes every matrix's first ratio 1; where a norm is under epsilon it is this
            object's factor of the shape.
        epsilon: keeps the ratio finite.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are orthogonalised; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter; 1 more per matrix with calibration.

    References:
        Lou and You, OrScale, arXiv 2605.07815; github.com/NUS-HPC-AI-Lab/OrScale.
    """
    transforms.require_fraction("orscale: momentum", momentum)
    return optax.chain(
        optax.trace(momentum, nesterov, accumulator_dtype=state_dtype),
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        transforms.scale_by_matrix_trust_ratio(*clip, calibration=calibration, epsilon=epsilon, leaves=leaves),
        optax.scale_by_learning_rate(learning_rate),
    )


@card(
    kind="matrix",
    paper=PAPER,
    confidence="EXACT",
    state="1, and 1 per matrix",
    chain="orscale with RMSMatch(0.2), calibrated ratios and a wider clip",
)
def orscale_lm(learning_rate: optax.ScalarOrSchedule, **options: Any) -> optax.GradientTransformationExtraArgs:
    """Run `orscale` with the settings for language models: calibrated, clipped to [0.1, 5], scaled as AdamW's updates.

    The first step is that of Muon with `shapes.RMSMatch(0.2)` in every matrix.

    Args:
        learning_rate: 0.02 is the authors'.
        **options: of `orscale`; they override these settings.

    State: 1 float per parameter and 1 per matrix.

    References:
        Lou and You, OrScale, arXiv 2605.07815.
    """
    scale = options.get("shape_scale", shapes.RMSMatch(0.2))
    settings = {"shape_scale": scale, "calibration": scale, "clip": (0.1, 5.0)}
    return orscale(learning_rate, **settings | options)
