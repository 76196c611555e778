"""Variant."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


# What can be counted or compared stands here; a test compares `chain` with the stages that the function builds, and
# `state` with the arrays that it keeps. A stage is called by the function that made it; a map by its class, `best()` by
# `orthogonalize`.
@card(
    kind="matrix",  # "roles" for a rule that takes the whole tree, a norm for each role
    confidence="OUR READING",  # EXACT: you read the algorithm. PARTIAL: pieces of it were missing.
    state=StateSize(1),  # floats per parameter; a second argument counts those of each matrix, e.g. "outputs"
    chain="nesterov_ema -> orthogonalize -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.02,  # where to start tuning
)
def variant(
    learning_rate: optax.ScalarOrSchedule,
    *,
    # The paper's own numbers, named as in the field: `momentum`, `<what>_decay`, `eps`; at most eight.
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    # Options that all optimizers share; their description is added to the docstring.
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Say in one imperative line what it does to a matrix.

    For hidden matrices only. Say when to use it: what it is better at than Muon, and at what price.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad O_t = \operatorname{orth}(\mu M_t + (1 - \mu) G_t) \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, O_t + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale.

    Differs from the paper in nothing that was seen.

    References:
        Authors, Title, arXiv 0000.00000.
    """
    # A test of a number that may be traced or injected is made by a helper that lets tracers pass.
    transforms.require_fraction("variant: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)  # hands the shared options to the stages that take them
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.apply(orthogonalizer or best()),  # any other transform: on.bind(transforms.normalize_neurons)(0.95)
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),  # before the rate: decoupled; the paper's order is the order here
        optax.scale_by_learning_rate(learning_rate),
    )
