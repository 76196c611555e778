"""MuCon."""

from typing import Any

import optax

from optax_muon import shapes
from optax_muon._registry import card
from optax_muon.linalg import SpectralClip, SpectralMap
from optax_muon.matrices._resolve import Leaves
from optax_muon.optimizers._muon import muon
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="MuCon, arXiv 2605.26459",
    confidence="PARTIAL",
    state="1",
    chain="muon with SpectralClip for the orthogonalizer",
    deviations="the rule is from secondary listings; momentum, scale and decay are Muon's, our reading",
    learning_rate=1.0,
)
def mucon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    maximum: Any = 1.0,
    orthogonalizer: SpectralMap | None = None,
    momentum: Any = 0.95,
    nesterov: bool = True,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
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
        momentum: the retained fraction mu, in [0, 1).
        nesterov: look one step ahead by interpolation.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter.

    Differs from the paper in what its listings leave open: the momentum, the shape scale and the decay are Muon's.

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
