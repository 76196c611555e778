"""Adaptive Muon of Gratton and Toint."""

import optax

from optax_muon import transforms
from optax_muon._numbers import require_not_negative
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg.subspace._eigenbasis import Refresh
from optax_muon.linalg.subspace._whitening import OneSidedWhitening


@card(
    kind="matrix",
    confidence="OUR READING",
    state=StateSize(1, "2 * min(inputs, outputs) ** 2"),
    chain="with_gradients(first_gradient_ema -> OneSidedWhitening) -> decay -> learning rate",
    learning_rate=0.1,
)
def adaptive_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.9,
    start: Number = 0.0,
    refresh_every: int = 1,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide the momentum by the root of the smaller side's Gram matrix, summed over all gradients.

    For hidden matrices. The first step is Muon's; later ones shorten by themselves, as AdaGrad's do, so that a constant
    learning rate will do where the length of a run is not known.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \quad M_0 = G_0, \qquad S_t = S_{t-1} + G_t G_t^T, \quad
        S_{-1} = \varsigma I \quad (\text{or } G_t^T G_t, \text{ the smaller}) \\
        W_t &= W_{t-1} - \eta_t \left( S_t^{-1/2} M_t + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of the first update in spectral norm; a constant one.
        start: varsigma, in units of squared gradients.
        refresh_every: updates between eigendecompositions; in between, eigenvalues are measured along the old basis.
        state_dtype: of the momentum. Factor and basis are float32 or wider.

    Differs from the paper, of which the abstract was found: the sum on one side is our guess at its "adaptive Muon",
    the only one without whose past it is Muon. Directions in which no gradient has been seen are left out.

    References:
        Gratton and Toint, arXiv 2604.17423.
    """
    transforms.require_fraction("adaptive_muon: momentum", momentum)
    require_not_negative("adaptive_muon", start=start)
    on = Stages(leaves, placement, state_dtype)
    whitening = OneSidedWhitening(None, Refresh(refresh_every, "decompose"), start=start)
    return optax.chain(
        transforms.with_gradients(optax.chain(on.first_gradient_ema(momentum), on.apply_with_gradients(whitening))),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
