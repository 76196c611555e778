"""ASGO: one-sided Shampoo."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg.subspace._eigenbasis import Refresh
from optax_muon.linalg.subspace._whitening import OneSidedWhitening


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "2 * min(inputs, outputs) ** 2"),
    chain="with_gradients(ema -> OneSidedWhitening) -> scale_to_rms -> decay -> learning rate",
    learning_rate=0.01,
    renamed={"decay": "second_moment_decay"},
)
def asgo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.9,
    second_moment_decay: Number = 0.8,
    rms: float = 0.2,
    refresh_every: int = 1,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide the momentum by the root of the smaller side's averaged Gram matrix.

    For hidden matrices; Muon with an averaged covariance of the gradients on one side. Without averages it is Muon.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad S_t = \beta S_{t-1} + (1 - \beta) G_t G_t^T
        \quad (\text{or } G_t^T G_t, \text{ the smaller}) \\
        U_t &= S_t^{-1/2} M_t, \qquad
        W_t = W_{t-1} - \eta_t \left( 0.2 \sqrt{m n} \, U_t / \|U_t\|_F + \lambda W_{t-1} \right)

    Args:
        learning_rate: AdamW's own rates carry over; the authors take 0.01.
        second_moment_decay: beta; with 0 and no momentum the direction is the polar factor.
        refresh_every: updates between eigendecompositions; in between, eigenvalues are measured along the old basis.
        state_dtype: of the momentum. Factor and basis are float32 or wider.

    Differs from the authors' code: the inverse root is by eigendecomposition on a schedule, theirs by
    Polar Express; it leaves out directions in which no gradient has been
    seen instead of dividing by 1e-10.

    References:
        An et al., ASGO: Adaptive Structured Gradient Optimization, arXiv 2503.20762; github.com/infinity-stars/ASGO.
    """
    transforms.require_fraction("asgo: momentum", momentum)
    transforms.require_fraction("asgo: second_moment_decay", second_moment_decay)
    on = Stages(leaves, placement, state_dtype)
    whitening = OneSidedWhitening(second_moment_decay, Refresh(refresh_every, "decompose"))
    return optax.chain(
        transforms.with_gradients(optax.chain(on.ema(momentum), on.apply_with_gradients(whitening))),
        on.bind(transforms.scale_to_rms)(rms),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
