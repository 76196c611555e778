"""MuonSign."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import Form, StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.optimizers._muon_usign import muon_usign


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, forms=(Form("with error feedback", {"error_feedback": True}, StateSize(3)),)),
    chain="nesterov_ema -> signs -> orthogonalize -> scale_by_sign -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.01,
)
def muon_sign(
    learning_rate: optax.ScalarOrSchedule,
    *,
    error_feedback: bool = False,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Compress both ways: the sign of the orthogonalised sign of the momentum, MuonSign.

    For hidden matrices only. With error feedback (EF21-MuonSign) the step of `muon_usign` is taken on exact weights in
    the state, and the parameters follow them by signs with one size per matrix.

    .. math::
        W_t &= W_{t-1} - \eta_t (c(\text{shape}) \operatorname{sign} \operatorname{orth} \operatorname{sign}(N_t)
        + \lambda W_{t-1}) \\
        \text{feedback: } X_t &= X_{t-1} - \eta_t (c \operatorname{orth}(S_t) + \lambda X_{t-1}), \qquad
        W_t = W_{t-1} + C(X_t - W_{t-1})

    Args:
        learning_rate: the size of an entry's step, before the shape scale; with feedback, in spectral norm.
        error_feedback: EF21 on both ways.
        weight_decay: lambda, decoupled, multiplied by the learning rate; with feedback it acts on the exact weights.
        shape_scale: c; default `shapes.FanIn()`, with feedback `shapes.Jordan()`.
        state_dtype: of momentum and estimate.

    Differs from the authors' code: the sign of zero is zero.

    References:
        SignMuon, MuonSign, and the Role of Error Feedback, github.com/intsystems/SignMuon (2026).
    """
    transforms.require_fraction("muon_sign: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    if error_feedback:
        step = muon_usign(
            learning_rate,
            error_feedback=True,
            orthogonalizer=orthogonalizer,
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
            shape_scale=shape_scale or shapes.Jordan(),
            leaves=leaves,
            placement=placement,
            state_dtype=state_dtype,
        )
        return transforms.step_by_messages(on.bind(transforms.scale_by_mean_sign)(), step)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.bind(transforms.signs)(error_feedback=False),
        on.apply(orthogonalizer or best()),
        optax.scale_by_sign(),
        on.scale_by_shape(shape_scale or shapes.FanIn()),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
