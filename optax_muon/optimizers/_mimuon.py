"""MiMuon."""

import optax

from optax_muon import shapes
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import Gate, Gated, SpectralGap, SpectralMap, best
from optax_muon.optimizers._muon import muon


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(1),
    chain="ema -> Gated -> scale_by_shape -> decay -> learning rate",
    defaults={"gate": SpectralGap(1e-4)},
    learning_rate=1.0,
)
def mimuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    gate: Gate,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the momentum where its singular values are well apart, and use it as it is elsewhere.

    For hidden matrices only. The polar factor is sensitive where singular values nearly coincide, which its paper ties
    to generalisation; a threshold of 0 is Muon, an infinite one is SGD.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad \kappa_t = \min_{i \ne j} |\sigma_i - \sigma_j| \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \begin{cases} \operatorname{orth}(M_t) & \kappa_t \ge \tau \\
        M_t & \text{else} \end{cases} + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an orthogonalised update in spectral norm, before the shape scale.
        gate: ``linalg.SpectralGap(tau)`` as above, by a decomposition, or ``linalg.LargeEnough(tau)``, which compares
            the Frobenius norm instead.
        momentum: the decay rate mu, in [0, 1); the paper's beta is 1 - mu.

    Differs from the paper where its sources do: two of three gate on the gap, one on the norm. Neither the gate of the
    authors' runs nor their threshold was found, in the abstract, two transcriptions, a review and an implementation
    elsewhere; no code of the authors was. So there is no default.

    References:
        Huang et al., MiMuon, arXiv 2605.19619.
    """
    return muon(
        learning_rate,
        orthogonalizer=Gated(gate, orthogonalizer or best()),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        leaves=leaves,
        placement=placement,
        state_dtype=state_dtype,
    )
