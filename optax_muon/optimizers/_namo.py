"""NAMO."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "1"),
    chain="with_gradients(ema -> with_gradient_scalar(orthogonalize -> scale_by_shape -> decay)) -> learning rate",
)
def namo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    second_moment_decay: Number = 0.99,
    eps: float = 1e-8,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Shorten Muon's step where the momentum is short beside the gradients, as in noise.

    For hidden matrices only. One number per matrix, Adam's ratio of moments for the matrix as a whole. Where the rate
    is too large for the noise it saves the run; with every rate tuned it was not seen to beat Muon.

    .. math::
        M_t &= \mu_1 M_{t-1} + (1 - \mu_1) G_t, \qquad v_t = \mu_2 v_{t-1} + (1 - \mu_2) \|G_t\|_F^2 \\
        a_t &= \frac{\sqrt{1 - \mu_2^t}}{1 - \mu_1^t} \frac{\|M_t\|_F}{\sqrt{v_t} + \epsilon}, \qquad
        W_t = W_{t-1} - \eta_t a_t \left( c(\text{shape}) \operatorname{orth}(M_t) + \lambda W_{t-1} \right)

    Args:
        learning_rate: of a step without noise, where a is 1; in pure noise a is :math:`\sqrt{(1 - \mu_1) /
            (1 + \mu_1)}`, 0.16 at 0.95.
        momentum: mu_1, in [0, 1).
        second_moment_decay: mu_2, in [0, 1).
        eps: added to the root of v, in units of a gradient's norm.
        weight_decay: lambda, scaled by a as the step is.

    Differs from NVIDIA's variant, which has no bias corrections, measures the Nesterov mix and decays without a. The
    second decay rate, eps and the shape scale are ours; the paper's NAMO-D, a scale per output, is left out.

    References:
        NAMO, arXiv 2602.17080; github.com/NVIDIA-NeMo/Emerging-Optimizers.
    """
    transforms.require_fraction("namo: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    step = optax.chain(
        on.apply(orthogonalizer or best()), on.scale_by_shape(shape_scale), decayed_weights(weight_decay)
    )
    scaled = on.bind(transforms.with_gradient_scalar)(step, second_moment_decay, eps=eps)
    # With its bias correction, which the orthogonaliser does not see and the norm in the numerator does.
    average = optax.ema(momentum, debias=True, accumulator_dtype=state_dtype)
    return optax.chain(
        transforms.with_gradients(optax.chain(average, scaled)), optax.scale_by_learning_rate(learning_rate)
    )
