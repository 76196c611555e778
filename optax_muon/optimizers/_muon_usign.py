"""MuonUSign."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import Form, StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, forms=(Form("with error feedback", {"error_feedback": True}, StateSize(2)),)),
    chain="nesterov_ema -> signs -> orthogonalize -> scale_by_shape -> decay -> learning rate",
)
def muon_usign(
    learning_rate: optax.ScalarOrSchedule,
    *,
    error_feedback: bool = False,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the sign of the momentum: MuonUSign.

    For hidden matrices only, where momenta travel and updates do not: the uplink costs one bit per entry.

    .. math::
        N_t &= \text{EMA with Nesterov}, \qquad
        S_t = \operatorname{sign}(N_t) \;\text{ or with feedback }\; S_{t-1} + C(N_t - S_{t-1}) \\
        W_t &= W_{t-1} - \eta_t (c(\text{shape}) \operatorname{orth}(S_t) + \lambda W_{t-1})

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale.
        error_feedback: EF21-MuonUSign, an estimate of N that compressed differences move.
        state_dtype: of momentum and estimate.

    Differs from the authors' code: the sign of zero is zero; the default table is Polar Express.

    References:
        SignMuon, MuonSign, and the Role of Error Feedback, github.com/intsystems/SignMuon (2026).
    """
    transforms.require_fraction("muon_usign: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.bind(transforms.signs)(error_feedback=error_feedback),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
