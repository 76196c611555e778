"""MuonUSign."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement

ORDERS = "SignMuon, MuonSign, and the Role of Error Feedback, github.com/intsystems/SignMuon (2026)"


@card(
    kind="matrix",
    paper=ORDERS,
    confidence="EXACT",
    state="1; 2 with error feedback",
    chain="nesterov_ema -> sign (or follow) -> orthogonalize -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="the sign of zero is zero; the default table is Polar Express",
)
def muon_usign(
    learning_rate: optax.ScalarOrSchedule,
    *,
    error_feedback: bool = False,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.95,
    nesterov: bool = True,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
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
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu, in [0, 1).
        nesterov: look one step ahead by interpolation.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are orthogonalised; None: on the spot.
        state_dtype: of momentum and estimate; None: the parameters' own.

    State: 1 float per parameter; 2 with error feedback.

    References:
        github.com/intsystems/SignMuon (2026).
    """
    transforms.require_fraction("muon_usign: momentum", momentum)
    return optax.chain(
        transforms.ema(momentum, nesterov=nesterov, accumulator_dtype=state_dtype),
        transforms.signs(error_feedback=error_feedback, leaves=leaves, accumulator_dtype=state_dtype),
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
