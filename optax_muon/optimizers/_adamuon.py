"""AdaMuon."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(2),
    chain="nesterov_ema -> scale_by_sign -> orthogonalize -> divide_by_gradient_rms -> scale_to_rms -> decay -> "
    "learning rate",
    learning_rate=6e-4,
)
def adamuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    second_moment_decay: Number = 0.95,
    eps: float = 1e-8,
    rms: float = 0.2,
    weight_decay: WeightDecay = 0.1,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the signs of the momentum, then let every entry move at its own pace.

    For hidden matrices only. Like `normuon` it evens out what the orthogonaliser leaves uneven, but entry by entry and
    at the price of a second state; the signs make it blind to the scale of single entries.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad
        O_t = \operatorname{orth}(\operatorname{sign}(\mu M_t + (1 - \mu) G_t)) \\
        V_t &= \beta V_{t-1} + (1 - \beta) O_t^2, \qquad Y_t = O_t / (\sqrt{V_t} + \epsilon) \\
        W_t &= W_{t-1} - \eta_t \left( r \sqrt{m n} \, Y_t / \|Y_t\|_F + \lambda W_{t-1} \right)

    Args:
        learning_rate: an entry's step over 0.2, as AdamW's; 6e-4 is the authors' for GPT-2 small.
        second_moment_decay: beta, in [0, 1); the authors take it equal to ``momentum``.
        eps: added to the root of V, in units of an orthogonal matrix's entries.
        rms: r, of an update's entries before the learning rate.

    Differs from the authors' code in nothing but the default table, Polar Express. Two ports leave out the sign, which
    is another rule.

    References:
        Si et al., AdaMuon, arXiv 2507.11005; github.com/Chongjie-Si/AdaMuon.
    """
    transforms.require_fraction("adamuon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        optax.scale_by_sign(),
        on.apply(orthogonalizer or best()),
        on.bind(transforms.divide_by_gradient_rms)(second_moment_decay, eps=eps, start="zero"),
        on.bind(transforms.scale_to_rms)(rms),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
