"""MuCon."""

import optax

from optax_muon import shapes
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralClip, SpectralMap
from optax_muon.optimizers._muon import muon


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(1),
    chain="nesterov_ema -> SpectralClip -> scale_by_shape -> decay -> learning rate",
    learning_rate=1.0,
)
def mucon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    maximum: Number = 1.0,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Cap the momentum's singular values instead of setting them all to one.

    For hidden matrices only. Directions below the cap keep their size, so noise is not blown up; gradients then have
    a scale again, and the cap must suit it.

    .. math::
        N_t = \text{EMA with Nesterov} = U S V^T, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \, U \min(S, \tau) V^T + \lambda W_{t-1} \right)

    Args:
        learning_rate: times ``maximum`` the largest update in spectral norm, before the shape scale.
        maximum: tau, in units of the gradient.
        orthogonalizer: None decomposes; a map caps by products only, see `linalg.SpectralClip`.

    Differs from the paper in what secondary listings of it leave open: the momentum, the shape scale and the decay are
    Muon's, our reading.

    References:
        MuCon, arXiv 2605.26459.
    """
    return muon(
        learning_rate,
        orthogonalizer=SpectralClip(maximum, orthogonalizer=orthogonalizer),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        leaves=leaves,
        placement=placement,
        state_dtype=state_dtype,
    )
