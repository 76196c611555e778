"""ASGO: one-sided Shampoo."""

from typing import Any

import optax

from optax_muon import transforms
from optax_muon._registry import card
from optax_muon.linalg.subspace._eigenbasis import Refresh
from optax_muon.linalg.subspace._whitening import OneSidedWhitening
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="An et al., ASGO: Adaptive Structured Gradient Optimization, arXiv 2503.20762",
    confidence="EXACT",
    state="1 + 2 min(m, n) / max(m, n) for an m x n matrix",
    chain="ema -> OneSidedWhitening -> scale_to_rms -> decoupled decay -> learning rate",
    deviations="the inverse root is by eigendecomposition on a schedule, the authors' by Polar Express",
    learning_rate=0.01,
)
def asgo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Any = 0.9,
    decay: Any = 0.8,
    rms: float = 0.2,
    refresh_every: int = 1,
    weight_decay: Any = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide the momentum by the root of the smaller side's averaged Gram matrix.

    For hidden matrices; Muon with a memory of the gradients' covariance on one side, which it equals without any.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad S_t = \beta S_{t-1} + (1 - \beta) G_t G_t^T
        \quad (\text{or } G_t^T G_t, \text{ the smaller}) \\
        U_t &= S_t^{-1/2} M_t, \qquad
        W_t = W_{t-1} - \eta_t \left( 0.2 \sqrt{m n} \, U_t / \|U_t\|_F + \lambda W_{t-1} \right)

    Args:
        learning_rate: AdamW's own rates carry over; the authors take 0.01.
        momentum: the retained fraction mu, in [0, 1).
        decay: beta; with 0 and no momentum the direction is the polar factor.
        rms: root mean square of the entries of an update.
        refresh_every: updates between eigendecompositions; in between, eigenvalues are measured along the old basis.
        weight_decay: decoupled, multiplied by the learning rate.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own. Factor and basis are float32 or wider.

    State: 1 float per parameter, and 2 min(m, n)^2 for an m x n matrix.

    Differs from the authors' code: the inverse root is exact, and leaves out directions in which no gradient has been
    seen instead of dividing by 1e-10.

    References:
        arXiv 2503.20762; github.com/infinity-stars/ASGO.
    """
    transforms.require_fraction("asgo: momentum", momentum)
    transforms.require_fraction("asgo: decay", decay)
    whitening = OneSidedWhitening(decay, Refresh(refresh_every, "decompose"))
    average = optax.ema(momentum, debias=False, accumulator_dtype=state_dtype)
    whitened = transforms.apply_with_gradients(whitening, leaves=leaves, placement=placement)
    return optax.chain(
        transforms.with_gradients(optax.chain(average, whitened)),
        transforms.scale_to_rms(rms, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
