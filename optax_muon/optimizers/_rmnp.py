"""RMNP."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Deng et al., RMNP, arXiv 2603.20527",
    confidence="EXACT",
    state="1",
    chain="nesterov_ema -> equilibrate outputs, in place -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="no epsilon beside the length; zero outputs stay zero",
)
def rmnp(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Any = 0.95,
    nesterov: bool = True,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Normalise every output's vector of the momentum instead of orthogonalising it.

    For hidden matrices only. It is Muon's step where the Gram matrix of the outputs is diagonal, at the cost of one
    pass over the entries; nothing but lengths travels between devices.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad N_t = \mu M_t + (1 - \mu) G_t \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{diag}(N_t N_t^T)^{-1/2} N_t + \lambda W_{t-1}
        \right), \quad W \text{ as (out, in)}

    Args:
        learning_rate: the length of an output's step, before the shape scale; 0.02 is the authors'.
        momentum: the retained fraction mu, in [0, 1).
        nesterov: look one step ahead by interpolation.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: unused, there being no matrix work to place; taken so that optimizers can be exchanged.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter.

    Differs from the authors' code, which adds an epsilon to the length.

    References:
        Deng et al., RMNP, arXiv 2603.20527; github.com/Dominator-Index/RMNP.
    """
    del placement
    transforms.require_fraction("rmnp: momentum", momentum)
    return optax.chain(
        transforms.ema(momentum, nesterov=nesterov, accumulator_dtype=state_dtype),
        transforms.equilibrate("output", leaves=leaves),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
