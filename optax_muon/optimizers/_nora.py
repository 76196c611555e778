"""Nora."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(1),
    chain="ema -> tangent_to_weights -> equilibrate -> scale_by_shape -> decay -> learning rate",
    in_place=True,
)
def nora(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.95,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Turn every output's weights by an equal step, and change their length by the decay alone.

    For hidden matrices only, at the cost of two passes over the entries: `rmnp` with the part along the weights taken
    off. Nothing but lengths travels between devices.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad w_o = W_o / \|W_o\|, \qquad
        d_o = M_o - \langle M_o, w_o \rangle w_o \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, d_o / \|d_o\| + \lambda W_{t-1} \right) \quad
        \text{for every output } o

    Args:
        learning_rate: the length of an output's step, before the shape scale.
        placement: unused, there being no matrix work to place; taken so that optimizers can be exchanged.

    Without decay squared lengths grow by the squared step, so that steps turn the weights by less and less. Outputs of
    a single input have no direction but their sign, and do not move.

    Differs from the paper in what the one restatement leaves open: the scale and the defaults are ours, and zero
    vectors stay zero without an epsilon.

    References:
        Nora, arXiv 2605.03769.
    """
    transforms.require_fraction("nora: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.bind(transforms.tangent_to_weights)("output"),
        on.bind(transforms.equilibrate)("output"),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
