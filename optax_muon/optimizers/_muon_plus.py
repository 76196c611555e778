"""Muon+."""

from collections.abc import Sequence
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
    chain="nesterov_heavy_ball -> orthogonalize -> equilibrate -> equilibrate -> scale_by_shape -> decay -> "
    "learning rate",
    learning_rate=0.005,
)
def muon_plus(
    learning_rate: optax.ScalarOrSchedule,
    *,
    sides: Sequence[Literal["output", "reduction"]] = ("output", "reduction"),
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    eps: float = 1e-7,
    weight_decay: WeightDecay = 0.1,
    shape_scale: shapes.ShapeScale = shapes.Spectral(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Bring the vectors of the orthogonalised momentum to unit length, one side after the other.

    For hidden matrices only. What a few Newton-Schulz steps leave uneven, and what an orthogonal matrix of other than
    square shape has uneven by nature, is evened out, without any state.

    .. math::
        M_t &= \mu M_{t-1} + G_t, \qquad O_t = \operatorname{orth}(G_t + \mu M_t) \\
        O'_{io} &= O_{io} / (\textstyle\sum_i O_{io}^2 + \epsilon)^{1/2}, \qquad
        O''_{io} = O'_{io} / (\textstyle\sum_o O'^2_{io} + \epsilon)^{1/2} \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, O''_t + \lambda W_{t-1} \right)

    Args:
        learning_rate: 0.005 is the authors'.
        sides: whose vectors, in order; those of the last come out at unit length. ``("output", "reduction")`` is the
            authors' row_col, ``("output",)`` their row, and none is Muon.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        eps: added to the sums of squares of an orthogonal matrix.

    Differs from the authors' code: its option to multiply by the nuclear norm is left out, and the default table is
    Polar Express.

    References:
        Muon+, arXiv 2602.21545; github.com/K1seki221/MuonPlus.
    """
    transforms.require_fraction("muon_plus: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.heavy_ball(momentum, nesterov=nesterov),
        on.apply(orthogonalizer or best()),
        *(on.bind(transforms.equilibrate)(side, eps=eps) for side in sides),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
