"""Muon with implicit gradient transport."""

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
    chain="implicit_gradient_transport(first_gradient_ema -> orthogonalize -> scale_by_shape -> decay -> "
    "learning rate)",
)
def muon_igt(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.9,
    transport: Number = 1.0,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon on gradients taken ahead, whose average is then not late.

    For hidden matrices; variance reduction's rate with one gradient a step. Evaluate with `optax_muon.eval_params`: the
    parameters themselves are the point ahead.

    .. math::
        Y_t &= W_t + s \tfrac{\mu}{1 - \mu} (W_t - W_{t-1}), \qquad
        M_t = \mu M_{t-1} + (1 - \mu) \nabla f(Y_t), \quad M_1 = G_1 \\
        W_{t+1} &= W_t - \eta_t \left( c(\text{shape}) \operatorname{orth}(M_t) + \lambda W_t \right)

    Args:
        learning_rate: eta; the point ahead moves up to :math:`(1 + \mu) / (1 - \mu)` times as far.
        transport: s; 1 is the theory's, 0 Muon without look-ahead.
        weight_decay: decoupled, multiplied by the learning rate; acts on W.
        state_dtype: of the momentum and the last update.

    Differs from the paper: PARTIAL. Only its abstract was found; the rule is that of NIGT and of transported Scion,
    which the abstract describes, and momentum's default is ours.

    References:
        Jang, Lee, LMO-IGT, arXiv 2605.05577; arXiv 2002.03305 (NIGT).
    """
    on = Stages(leaves, placement, state_dtype)
    inner = optax.chain(
        on.first_gradient_ema(momentum),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    return on.bind(transforms.implicit_gradient_transport)(inner, momentum, scale=transport)
