"""COSMOS."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, best
from optax_muon.linalg.subspace._leading_subspace import LeadingSubspace


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "rank * (inputs + outputs + rank)"),
    chain="with_gradients(nesterov_heavy_ball -> LeadingSubspace) -> scale -> decay -> learning rate",
    learning_rate=2e-3,
    renamed={"second_moment": "second_moment_decay"},
)
def cosmos(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    second_moment_decay: Number = 0.95,
    rank: int = 64,
    gamma: Number = 0.2,
    ratio: Number = 0.2,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run SOAP's Adam in the leading input subspace of the gradients and Muon on the rest.

    For hidden matrices: SOAP where it matters, at little more than Muon's cost.

    .. math::
        P_t &= \operatorname{QR}\left(\beta_2 P_{t-1} S_{t-1} + (1 - \beta_2) G_t^T G_t P_{t-1}\right), \qquad
        V_t = \beta_2 V_{t-1} + (1 - \beta_2) (G_t P_t)^2 \\
        A_t &= \frac{N_t P_t}{\sqrt{\hat V_t} + \varepsilon} P_t^T, \qquad
        B_t = \operatorname{orth}(N_t - N_t P_t P_t^T) \text{ at norm } \sqrt{m n} \\
        W_t &= W_{t-1} - \eta_t \left( \rho \sqrt{m n} \frac{A_t + \gamma B_t}{\|A_t + \gamma B_t\|_F}
        + \lambda W_{t-1} \right)

    N is the Nesterov average of the gradients, S their Gram matrix in the subspace; matrices are (out, in).

    Args:
        learning_rate: AdamW's own; the authors take 2e-3.
        momentum: beta_1, the decay rate of N, in [0, 1).
        second_moment_decay: beta_2, in [0, 1).
        rank: k, of the subspace; at least 1, and no more than a matrix's smaller side is taken. All of the input side
            makes it one-sided SOAP.
        gamma: weight of the orthogonalised rest.
        ratio: rho, the RMS of an update's entries.
        state_dtype: of the momentum. The rest is float32 or wider.

    Differs from the authors' code: a rest that is nothing but rounding (a gradient of rank k or less) is left out
    instead of being orthogonalised, and Adam's denominator has a floor of 100 units of rounding for the same reason;
    norms have no epsilon; large vocabularies are left to `optax_muon.for_matrices`.

    References:
        Liu et al., COSMOS: A Hybrid Adaptive Optimizer, arXiv 2502.17410; github.com/lliu606/COSMOS.
    """
    transforms.require_fraction("cosmos: momentum", momentum)
    transforms.require_fraction("cosmos: second_moment_decay", second_moment_decay)
    if rank < 1:
        raise ValueError(f"cosmos: rank must be at least 1, not {rank}")
    on = Stages(leaves, placement, state_dtype)
    subspace = LeadingSubspace(rank, momentum, second_moment_decay, gamma, orthogonalizer or best())
    return optax.chain(
        transforms.with_gradients(
            optax.chain(on.heavy_ball(momentum, nesterov=True), on.apply_with_gradients(subspace))
        ),
        optax.scale(ratio),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
