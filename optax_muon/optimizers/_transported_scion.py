"""Transported Scion."""

from collections.abc import Mapping
from typing import Any

import optax

from optax_muon import norms as om_norms
from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap
from optax_muon.norms import Norm


@card(
    kind="roles",
    confidence="EXACT",
    state=StateSize(2),
    chain="implicit_gradient_transport(first_gradient_ema -> apply_by_role -> decay -> learning rate)",
)
def transported_scion(
    learning_rate: optax.ScalarOrSchedule,
    *,
    norms: Mapping[str, Norm] | None = None,
    radii: Mapping[str, Any] | float = 1.0,
    momentum: Number = 0.9,
    transport: Number = 1.0,
    weight_decay: WeightDecay = 0.0,
    orthogonalizer: SpectralMap | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Scion on gradients taken ahead, whose average is then not late.

    For the whole tree, without Adam. Evaluate with `optax_muon.eval_params`: the parameters themselves are the point
    ahead. The paper's batched Scion is `optax_muon.scion` with large batches.

    .. math::
        Y_t &= W_t + s \tfrac{\mu}{1 - \mu} (W_t - W_{t-1}), \qquad
        M_t = \mu M_{t-1} + (1 - \mu) \nabla f(Y_t), \quad M_1 = G_1 \\
        W_{t+1} &= (1 - \eta_t \lambda) W_t - \eta_t \rho \operatorname{lmo}_1(M_t)

    Args:
        learning_rate: eta; the point ahead moves up to :math:`(1 + \mu) / (1 - \mu)` times as far.
        transport: s; 1 is the theory's, 0 Scion with an average that starts at the first gradient.
        weight_decay: lambda; 0 is the paper's unconstrained form.
        orthogonalizer: of the default norms; default that of `norms.Spectral`.
        state_dtype: of the momentum and the last update.

    Differs from the paper: momentum is constant, and norms are Scion's for each role; the heuristics of its experiments
    were not seen.

    References:
        Zhang, Lin, Scale-Invariant Neural Network Optimization, arXiv 2605.18528, as restated by others.
    """
    chosen = om_norms.for_roles(orthogonalizer) | dict(norms or {})
    on = Stages(leaves, placement, state_dtype)
    inner = optax.chain(
        on.first_gradient_ema(momentum),
        on.apply_by_role(om_norms.oracles(chosen, radii)),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    return on.bind(transforms.implicit_gradient_transport)(inner, momentum, scale=transport)
