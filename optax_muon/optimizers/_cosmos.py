"""COSMOS."""

from typing import Any

import optax

from optax_muon import transforms
from optax_muon._registry import card
from optax_muon.linalg import SpectralMap, best
from optax_muon.linalg.subspace._leading_subspace import LeadingSubspace
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Liu et al., COSMOS: A Hybrid Adaptive Optimizer, arXiv 2502.17410",
    confidence="EXACT",
    state="1 + k (m + n + k) / (m n) for an m x n matrix and rank k",
    chain="trace (Nesterov) -> LeadingSubspace -> scale -> decoupled decay -> learning rate",
    deviations="a rest that is rounding alone is not orthogonalised; large vocabularies are left to for_matrices",
    learning_rate=2e-3,
)
def cosmos(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | None = None,
    momentum: Any = 0.95,
    second_moment: Any = 0.95,
    rank: int = 64,
    gamma: Any = 0.2,
    ratio: Any = 0.2,
    weight_decay: Any = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run SOAP's Adam in the leading input subspace of the gradients and Muon on the rest.

    For hidden matrices: SOAP's memory where it matters, at little more than Muon's cost.

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
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: beta_1, the retained fraction of N, in [0, 1).
        second_moment: beta_2, in [0, 1).
        rank: k, of the subspace; at least 1, and no more than a matrix's smaller side is taken. All of the input side
            makes it one-sided SOAP.
        gamma: weight of the orthogonalised rest.
        ratio: rho, the RMS of an update's entries.
        weight_decay: decoupled, multiplied by the learning rate.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own. The rest is float32 or wider.

    State: 1 float per parameter, and k (m + n + k) for an m x n matrix.

    Differs from the authors' code: a rest that is nothing but rounding (a gradient of rank k or less) is left out
    instead of being orthogonalised, and Adam's denominator has a floor of 100 units of rounding for the same reason;
    norms have no epsilon.

    References:
        arXiv 2502.17410; github.com/lliu606/COSMOS.
    """
    transforms.require_fraction("cosmos: momentum", momentum)
    transforms.require_fraction("cosmos: second_moment", second_moment)
    if rank < 1:
        raise ValueError(f"cosmos: rank must be at least 1, not {rank}")
    subspace = LeadingSubspace(rank, momentum, second_moment, gamma, orthogonalizer or best())
    heavy_ball = optax.trace(momentum, nesterov=True, accumulator_dtype=state_dtype)
    treated = transforms.apply_with_gradients(subspace, leaves=leaves, placement=placement)
    return optax.chain(
        transforms.with_gradients(optax.chain(heavy_ball, treated)),
        optax.scale(ratio),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
