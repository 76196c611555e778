"""Shampoo, by its power and by its square root."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import GramWhitening, Refresh


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "2 * (inputs**2 + outputs**2)", note="a side above ``max_side`` keeps none"),
    chain="with_gradients(ema -> GramWhitening) -> scale_to_rms -> decay -> learning rate",
    learning_rate=1e-3,
)
def shampoo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    exponent: Number = 0.5,
    momentum: Number = 0.9,
    second_moment_decay: Number = 0.95,
    refresh_every: int = 10,
    max_side: int = 10000,
    eps: float = 1e-2,
    rms: float | None = 0.2,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Multiply the momentum by inverse roots of the gradient's averaged Gram matrices.

    For hidden matrices: the root of the family. The square-root form fits the gradients' covariance best by a product
    of two factors; `kl_shampoo` fits it better, and `soap` runs Adam in the same bases.

    .. math::
        L_t &= \beta L_{t-1} + (1 - \beta) G_t G_t^T, \qquad R_t = \beta R_{t-1} + (1 - \beta) G_t^T G_t, \qquad
        M_t = \mu M_{t-1} + (1 - \mu) G_t \\
        W_t &= W_{t-1} - \eta_t \left( \sqrt{\operatorname{tr} L_t} \, L_t^{-1/2} M_t R_t^{-1/2} + \lambda W_{t-1}
        \right) \quad \text{or} \quad W_{t-1} - \eta_t \left( L_t^{-1/4} M_t R_t^{-1/4} + \lambda W_{t-1} \right)

    Args:
        learning_rate: an entry's step over 0.2, as AdamW's.
        exponent: 1/2 is the square-root form, 1/4 the power form of 2018.
        second_moment_decay: beta, of the factors, with bias correction.
        refresh_every: updates between decompositions.
        max_side: a longer side is left as it is, and keeps no factor.
        eps: added to the eigenvalues of a factor that is brought to mean eigenvalue 1. With a small one, directions
            that a factor has not seen yet drown the others: at 1e-6 noise there counts a thousand times.
        rms: to which every update is brought. None: the papers' own size; along directions that a factor has not seen
            yet it may be huge.
        state_dtype: of the momentum. Factors are float32 or wider.

    Differs from the paper of 2018, whose factors are sums and start at a multiple of I. A fixed RMS stands in the place
    of grafting, which takes the size of every step from another optimizer, and eps is ours.

    References:
        Gupta et al., Shampoo, arXiv 1802.09568; Morwani et al., A New Perspective on Shampoo's Preconditioner,
        arXiv 2406.17748.
    """
    transforms.require_fraction("shampoo: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    whitening = GramWhitening(
        second_moment_decay, exponent, Refresh(refresh_every, "decompose"), "both", max_side, eps, sized=True
    )
    return optax.chain(
        transforms.with_gradients(optax.chain(on.ema(momentum), on.apply_with_gradients(whitening))),
        *([] if rms is None else [on.bind(transforms.scale_to_rms)(rms)]),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
