"""RMNP."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_ema -> equilibrate -> scale_by_shape -> decay -> learning rate",
    in_place=True,
)
def rmnp(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
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
        placement: unused, there being no matrix work to place; taken so that optimizers can be exchanged.

    Differs from the authors' code, which adds an epsilon to the length; zero outputs stay zero.

    References:
        Deng et al., RMNP, arXiv 2603.20527; github.com/Dominator-Index/RMNP.
    """
    transforms.require_fraction("rmnp: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.bind(transforms.equilibrate)("output"),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
