"""PolarAdamW."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(2),
    chain="adam_direction -> orthogonalize -> scale_by_shape -> decay -> learning rate",
    renamed={"second_moment": "second_moment_decay", "epsilon": "eps"},
)
def polar_adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.9,
    second_moment_decay: Number = 0.999,
    eps: float = 1e-8,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise AdamW's direction instead of the momentum.

    For hidden matrices only. The spectral norm of an update stays bounded as Muon's, and gradients scaled entry by
    entry give the same update, which Muon's do not; rotations of the gradient no longer commute with the step.

    .. math::
        M_t &= \beta_1 M_{t-1} + (1 - \beta_1) G_t, \qquad V_t = \beta_2 V_{t-1} + (1 - \beta_2) G_t^2 \\
        A_t &= \frac{M_t / (1 - \beta_1^t)}{\sqrt{V_t / (1 - \beta_2^t)} + \epsilon}, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(A_t) + \lambda W_{t-1} \right)

    Args:
        learning_rate: about an entry's step over 0.2 with `shapes.RMSMatch(0.2)`, as AdamW's.
        momentum: beta_1, in [0, 1).
        second_moment_decay: beta_2, in [0, 1).
        eps: Adam's, in units of gradients.
        state_dtype: of the first moment.

    Differs from the paper in what its abstract leaves open: Adam's usual rates and both bias corrections, the shape
    scale and the decay are ours.

    References:
        Haozhou Zhang, PolarAdamW, arXiv 2605.07067.
    """
    transforms.require_fraction("polar_adamw: momentum", momentum)
    transforms.require_fraction("polar_adamw: second_moment_decay", second_moment_decay)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.bind(transforms.adam_direction)(momentum, second_moment_decay, eps=eps),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
