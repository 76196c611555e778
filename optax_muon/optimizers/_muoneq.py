"""MuonEq."""

from typing import Literal

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_heavy_ball -> equilibrate -> orthogonalize -> scale_by_shape -> decay -> learning rate",
    learning_rate=1e-3,
    renamed={"epsilon": "eps"},
)
def muoneq(
    learning_rate: optax.ScalarOrSchedule,
    *,
    side: Literal["output", "reduction", "both"] = "output",
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    eps: float = 1e-8,
    weight_decay: WeightDecay = 0.1,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Even out the vectors of the momentum before it is orthogonalised.

    For hidden matrices only. A badly scaled momentum loses its small outputs in a few Newton-Schulz steps; dividing
    each by its length first costs next to nothing. The exact polar factor changes as well.

    .. math::
        M_t &= \mu M_{t-1} + G_t, \qquad N_t = G_t + \mu M_t \\
        N'_{io} &= N_{io} / (\textstyle\sum_i N_{io}^2 + \epsilon)^{1/2} \quad \text{(output; reduction: } \sum_o
        \text{; both: both factors)} \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(N'_t) + \lambda W_{t-1} \right)

    Args:
        learning_rate: about an entry's step over 0.2 with `shapes.RMSMatch(0.2)`, as AdamW's.
        side: ``"output"`` is the paper's R, ``"reduction"`` its C, ``"both"`` its RC.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        eps: added to the sums of squares, in units of squared gradients.

    Differs from the authors' code: its switch from RC to R after k steps, its clamp of the factors and its Schatten-8
    input norm are left out; `transforms.equilibrate` has the power -1/4. The default table is Polar
    Express, theirs `linalg.JORDAN_2024`.

    References:
        MuonEq, arXiv 2603.28254; github.com/MaeChd/muon-eq.
    """
    transforms.require_fraction("muoneq: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.heavy_ball(momentum, nesterov=nesterov),
        on.bind(transforms.equilibrate)(side, eps=eps),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
