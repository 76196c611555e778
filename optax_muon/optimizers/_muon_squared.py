"""Muon^2."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(2),
    chain="adam_direction -> orthogonalize -> scale_by_shape -> decay -> learning rate",
)
def muon_squared(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    second_moment_decay: Number = 0.95,
    eps: float = 1e-8,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Spectral(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide the momentum by the root of its second moment before it is orthogonalised.

    For hidden matrices only. Entries of unlike scale have the same say, so that fewer Newton-Schulz steps are enough.
    `polar_adamw` is the same idea with Adam's own epsilon and rates.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad V_t = \beta V_{t-1} + (1 - \beta) G_t^2 \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape})
        \operatorname{orth}\left( M_t / \sqrt{V_t / (1 - \beta^t) + \epsilon} \right) + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale.
        second_moment_decay: beta, in [0, 1).
        eps: under the root, in units of squared gradients.
        state_dtype: of the first moment.

    Differs from the restatement that was read in the bias correction of V, a common factor but for eps. Decay rates and
    eps are ours; the default table is Polar Express.

    References:
        Muon^2, arXiv 2604.09967.
    """
    transforms.require_fraction("muon_squared: momentum", momentum)
    transforms.require_fraction("muon_squared: second_moment_decay", second_moment_decay)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.bind(transforms.adam_direction)(momentum, second_moment_decay, eps=0.0, eps_root=eps),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
