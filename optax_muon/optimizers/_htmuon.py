"""HTMuon."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, SpectralPower, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_ema -> SpectralPower -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.03,
)
def htmuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    power: SpectralPower = SpectralPower(0.125),  # noqa: B008 - immutable
    interval: int = 1,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.1,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Raise the momentum's singular values to a small power, so that part of their heavy tail survives.

    For hidden matrices only. The power p = 0 is Muon, 1 is SGD with momentum; between them the update is homogeneous of
    degree p in the gradients.

    .. math::
        N_t = \text{EMA with Nesterov} = U S V^T, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \, U S^p V^T + \lambda W_{t-1} \right)

    Args:
        learning_rate: 0.03 for 60M parameters, 5e-3 for 1B are the authors'.
        power: the map; ``SpectralPower(0.125, orthogonalizer)`` computes it by products only.
        interval: P: the power at steps P, 2 P and so on, plain Muon between; 5 is the authors' for 1B.
        orthogonalizer: of the plain steps; default `best()`.

    Differs from the authors' code, which has three more accelerations, streaming and a rank law among them, trains
    embeddings and heads the same way, and takes another table in its plain steps.

    References:
        Pang et al., HTMuon, arXiv 2603.10067; github.com/TDCSZ327/HTmuon.
    """
    transforms.require_fraction("htmuon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    direction = on.apply(power)
    if interval != 1:
        plain = on.apply(orthogonalizer or best())
        direction = transforms.alternate(interval, direction, otherwise=plain, first=interval)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        direction,
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
