"""OrScale."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import Form, StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, forms=(Form("with calibration", {"calibration": shapes.Constant(1.0)}, StateSize(1, "1")),)),
    chain="nesterov_heavy_ball -> orthogonalize -> scale_by_shape -> decay -> scale_by_matrix_trust_ratio -> "
    "learning rate",
    renamed={"epsilon": "eps", "clip": ("min_ratio", "max_ratio")},
)
def orscale(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    min_ratio: Number = 0.5,
    max_ratio: Number = 1.5,
    calibration: shapes.ShapeScale | None = None,
    eps: float = 1e-6,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
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
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        weight_decay: lambda, part of the direction whose norm is taken.
        shape_scale: s, an object of `optax_muon.shapes`.
        min_ratio: r_min, positive or zero.
        max_ratio: r_max.
        calibration: None: c = 1. Else c makes every matrix's first ratio 1; where a norm is under eps it is this
            object's factor of the shape.
        eps: keeps the ratio finite.

    References:
        Lou and You, OrScale, arXiv 2605.07815; github.com/NUS-HPC-AI-Lab/OrScale.
    """
    transforms.require_fraction("orscale: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.heavy_ball(momentum, nesterov=nesterov),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        on.bind(transforms.scale_by_matrix_trust_ratio)(min_ratio, max_ratio, calibration=calibration, eps=eps),
        optax.scale_by_learning_rate(learning_rate),
    )
