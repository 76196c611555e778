"""MuAdam and MuAdam-SANIA."""

from typing import Literal

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(2),
    chain="with_gradients(ema -> in_diagonal_metric(orthogonalize)) -> scale_by_shape -> decay -> learning rate",
    renamed={"second_moment": "second_moment_decay", "epsilon": "eps"},
)
def muadam(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.9,
    second_moment_decay: Number = 0.95,
    eps: float = 1e-8,
    form: Literal["adam", "sania", "sania_damped"] = "adam",
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise in coordinates that Adam's second moment has rescaled.

    For hidden matrices; Muon in an entrywise preconditioned spectral norm. The published evidence is weak: competitive,
    and best in 2 of 8 fine-tuning tasks.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad V_t = \beta V_{t-1} + (1 - \beta) G_t^2, \qquad
        s = (\sqrt{\hat V_t} + \varepsilon)^{1/2} \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(M_t / s) / s + \lambda W_{t-1} \right)

    Args:
        learning_rate: its size depends on the gradient's: an update grows as gradients shrink, by their square root
            (adam) or in proportion (sania).
        second_moment_decay: beta, in [0, 1).
        eps: keeps the scale s positive. Entries whose gradient is almost always zero, those of dark pixels, take
            huge steps under the default, which is the authors'; 1e-4 was seen to stop that.
        form: ``adam``, or ``sania`` with :math:`s = (\hat V + \varepsilon)^{1/2}`, which makes the training
            indifferent to how single entries of the parameters are scaled; ``sania_damped`` multiplies that by
            :math:`1 - \sqrt{1 - \min(\hat V, 1)}`, as the lab's Adam-SANIA does.
        state_dtype: of both averages.

    Differs from the paper: PARTIAL. The norm and its oracle are the paper's; constants and the split of the scale are
    those of the same lab's published code.

    References:
        Veprikov et al., Preconditioned Norms, arXiv 2510.10777, definitions 2.1 and 2.2;
        github.com/brain-lab-research/lion-muon.
    """
    transforms.require_fraction("muadam: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    metric = on.bind(transforms.in_diagonal_metric)(
        on.apply(orthogonalizer or best()), second_moment_decay, eps=eps, form=form
    )
    return optax.chain(
        transforms.with_gradients(optax.chain(on.ema(momentum), metric)),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
