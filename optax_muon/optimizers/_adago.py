"""AdaGO."""

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
    chain="with_gradients(ema -> with_gradient_scalar(orthogonalize -> scale_by_shape)) -> decay -> learning rate",
    learning_rate=0.05,
)
def adago(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    clip: Number = 10.0,
    floor: Number = 0.01,
    start: Number = 1e-6,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Let Muon's step shrink by itself, as the norms of the gradients add up.

    For hidden matrices only, at a constant rate: AdaGrad's step size for the matrix as a whole. With gradients of
    constant norm the steps are :math:`\eta / \sqrt t`.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad g_t = \min(\|G_t\|_F, \gamma), \qquad
        v_t^2 = v_{t-1}^2 + g_t^2 \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \max(a_{\min}, g_t / v_t) \operatorname{orth}(M_t)
        + \lambda W_{t-1} \right)

    Args:
        learning_rate: the first step's size in spectral norm.
        clip: gamma, the longest gradient that counts, in units of gradients.
        floor: a_min, the least factor of the rate.
        start: v_0, in units of gradients.

    Differs from the paper: its floor is a length, 5e-4, that no schedule touches; here it is a share of the rate, the
    same at a constant rate of 0.05. A port that divides by the square of v is another rule. Decay, shape scale and the
    default table, Polar Express, are ours.

    References:
        AdaGO, arXiv 2509.02981.
    """
    transforms.require_fraction("adago: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    step = optax.chain(on.apply(orthogonalizer or best()), on.scale_by_shape(shape_scale))
    scaled = on.bind(transforms.with_gradient_scalar)(
        step, None, numerator="gradient", clip=clip, floor=floor, start=start
    )
    return optax.chain(
        transforms.with_gradients(optax.chain(on.ema(momentum), scaled)),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
