"""Newton-Muon."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "2 * inputs**2"),
    chain="precondition_inputs -> nesterov_heavy_ball -> orthogonalize -> scale_by_shape -> decay -> learning rate",
    learning_rate=1e-3,
    extra_args=("input_moments",),
)
def newton_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    second_moment_decay: Number = 0.95,
    ridge: Number = 0.2,
    refresh_every: int = 32,
    max_block: int | None = None,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide gradients by the second moment of their layer's inputs, then run Muon.

    For hidden matrices of dense layers. It helps where inputs are ill conditioned and does nothing where they are
    white; ``update`` takes ``input_moments``, see `transforms.precondition_inputs` and `diagnostics.input_moments`.

    .. math::
        K &\leftarrow \beta K + (1 - \beta) \operatorname{mean}(x x^T) \ \text{(every } T\text{-th update)}, \qquad
        G'_t = G_t \left( K + (r \tfrac{\operatorname{tr} K}{n} + \epsilon) I \right)^{-1} \\
        M_t &= \mu M_{t-1} + G'_t, \qquad W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(G'_t
        + \mu M_t) + \lambda W_{t-1} \right)

    Args:
        learning_rate: an entry's step over 0.2 with `shapes.RMSMatch(0.2)`, as AdamW's; the authors' shape scale is
            ``RMSMatch(1.0)``.
        second_moment_decay: beta, of K.
        ridge: r, in units of the mean eigenvalue of K; a large one is Muon.
        max_block: the most inputs that K relates to each other, the width in the authors' code: the 4 d inputs of a
            down-projection then have four diagonal blocks. None: K is whole.
        refresh_every: T; before the first renewal gradients stay as they are.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        state_dtype: of the momentum. K is float32 or wider.

    Differs from the authors' code, in which inputs of down-projections have four diagonal blocks, ``max_block`` here,
    and fused projections are orthogonalised by part, which `Leaf.split` says here. The default table is Polar Express.

    References:
        Du and Su, Newton-Muon, arXiv 2604.01472; github.com/zhehangdu/Newton-Muon.
    """
    transforms.require_fraction("newton_muon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.bind(transforms.precondition_inputs)(
            second_moment_decay, ridge=ridge, refresh_every=refresh_every, max_block=max_block
        ),
        on.heavy_ball(momentum, nesterov=nesterov),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
