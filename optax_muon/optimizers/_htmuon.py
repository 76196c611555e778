"""HTMuon."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import SpectralMap, SpectralPower, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Pang et al., HTMuon, arXiv 2603.10067",
    confidence="EXACT",
    state="1",
    chain="nesterov_ema -> every P steps SpectralPower, else orthogonalize -> scale_by_shape -> decay -> learning rate",
    deviations="no streaming or rank-law form; plain steps use Polar Express",
    learning_rate=0.03,
)
def htmuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    power: SpectralPower = SpectralPower(0.125),  # noqa: B008 - immutable
    interval: int = 1,
    orthogonalizer: SpectralMap | None = None,
    momentum: Any = 0.95,
    nesterov: bool = True,
    weight_decay: Any = 0.1,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
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
        interval: P: the power at the first step and every P-th, plain Muon between; 5 is the authors' for 1B.
        orthogonalizer: of the plain steps; default `best()`.
        momentum: the retained fraction mu, in [0, 1).
        nesterov: look one step ahead by interpolation.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter.

    Differs from the authors' code, which has three more accelerations and trains embeddings and heads the same way.

    References:
        Pang et al., HTMuon, arXiv 2603.10067; github.com/TDCSZ327/HTmuon.
    """
    transforms.require_fraction("htmuon: momentum", momentum)
    direction = transforms.apply_to_matrices(power, leaves=leaves, placement=placement)
    if interval != 1:
        plain = transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement)
        direction = transforms.alternate(interval, direction, otherwise=plain)
    return optax.chain(
        transforms.ema(momentum, nesterov=nesterov, accumulator_dtype=state_dtype),
        direction,
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
