"""KL-Shampoo."""

from typing import Any

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon.linalg.subspace._eigenbasis import Refresh
from optax_muon.linalg.subspace._whitening import KroneckerWhitening


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "2 * (inputs**2 + outputs**2)", note="a side above ``max_side`` keeps none"),
    chain="with_gradients(ema -> KroneckerWhitening) -> decay -> learning rate",
    learning_rate=3e-3,
    renamed={"decay": "second_moment_decay", "epsilon": "eps"},
)
def kl_shampoo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Any = 0.9,
    second_moment_decay: Any = 0.95,
    refresh_every: int = 10,
    max_side: int = 10000,
    eps: float = 1e-8,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Whiten the momentum by a Kronecker covariance of the gradients, without Adam inside.

    For hidden matrices. Each factor is measured in the geometry of the other, so that their product fits the
    gradients' covariance; Shampoo without that needs grafting.

    .. math::
        S_L &\leftarrow \beta S_L + \tfrac{1 - \beta}{n} G_t S_R^{-1} G_t^T, \qquad
        S_R \leftarrow \beta S_R + \tfrac{1 - \beta}{m} G_t^T S_L^{-1} G_t \\
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad
        W_t = W_{t-1} - \eta_t \left( S_L^{-1/2} M_t S_R^{-1/2} + \lambda W_{t-1} \right)

    Args:
        learning_rate: entries of an update have RMS about 1 before it, as Adam's, so AdamW's rates are a start.
        second_moment_decay: beta, of the factors.
        refresh_every: updates between one QR step of the bases through which inverses are taken; the first update
            decomposes.
        max_side: a longer side is left as it is, and keeps no factor.
        eps: eigenvalues count at least this fraction of the largest.
        state_dtype: of the momentum. Factors and bases are float32 or wider.

    Differs from the published codes: a factor starts from the first gradient's RMS times I instead of a fixed
    multiple, so that the rule stays scale free; the floor of eigenvalues is relative.

    References:
        Lin et al., KL-Shampoo, arXiv 2509.03378.
    """
    transforms.require_fraction("kl_shampoo: momentum", momentum)
    transforms.require_fraction("kl_shampoo: second_moment_decay", second_moment_decay)
    on = Stages(leaves, placement, state_dtype)
    whitening = KroneckerWhitening(second_moment_decay, Refresh(refresh_every), max_side, eps)
    return optax.chain(
        transforms.with_gradients(optax.chain(on.ema(momentum), on.apply_with_gradients(whitening))),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
