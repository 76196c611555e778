"""MuonSign."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.matrices._resolve import Leaves
from optax_muon.optimizers._muon_usign import ORDERS, muon_usign
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper=ORDERS,
    confidence="EXACT",
    state="1; 3 with error feedback",
    chain="muon_usign, then its sign; with error feedback, by compressed messages",
    deviations="the sign of zero is zero",
    learning_rate=0.01,
)
def muon_sign(
    learning_rate: optax.ScalarOrSchedule,
    *,
    error_feedback: bool = False,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
    **options: Any,
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
        weight_decay: decoupled, multiplied by the learning rate; with feedback it acts on the exact weights.
        shape_scale: c; default `shapes.FanIn()`, with feedback `shapes.Jordan()`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are orthogonalised; None: on the spot.
        state_dtype: of momentum and estimate; None: the parameters' own.
        **options: ``orthogonalizer``, ``momentum`` and ``nesterov`` of `muon_usign`.

    State: 1 float per parameter; 3 with error feedback.

    References:
        github.com/intsystems/SignMuon (2026).
    """
    given = options | {"leaves": leaves, "placement": placement, "state_dtype": state_dtype}
    if error_feedback:
        step = muon_usign(
            learning_rate,
            error_feedback=True,
            weight_decay=weight_decay,
            shape_scale=shape_scale or shapes.Jordan(),
            **given,
        )
        return transforms.step_by_messages(transforms.scale_by_mean_sign(leaves=leaves), step)
    return optax.chain(
        # A rate of -1 leaves the direction upward, for the sign to come.
        muon_usign(-1.0, shape_scale=shapes.Constant(1.0), **given),
        optax.scale_by_sign(),
        transforms.scale_by_shape(shape_scale or shapes.FanIn(), leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
