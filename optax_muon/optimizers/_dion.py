"""Dion."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import RankFraction


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "rank * inputs"),
    chain="low_rank_momentum -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.01,
    renamed={"epsilon": "eps"},
    static=("rank",),
)
def dion(
    learning_rate: optax.ScalarOrSchedule,
    *,
    rank: int | RankFraction = 768,
    power_steps: int = 1,
    momentum: Number = 0.95,
    weight_decay: WeightDecay = 0.01,
    shape_scale: shapes.ShapeScale = shapes.Spectral(),  # noqa: B008 - immutable
    eps: float = 1e-8,
    seed: int = 0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the leading directions of the momentum alone, and keep the rest for later.

    For hidden matrices only, where orthogonalising whole matrices costs too much: two thin products and one thin QR a
    step. What the update leaves out stays in the momentum, so every direction has its turn.

    .. math::
        B_t &= M_{t-1} + G_t, \qquad P_t = \operatorname{qr}(B_t Q_{t-1}), \qquad R_t = B_t^T P_t \\
        M_t &= B_t - (1 - \mu) P_t R_t^T, \qquad Q_t = R_t \text{ with unit columns} \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) P_t Q_t^T + \lambda W_{t-1} \right), \quad W \text{ as (out, in)}

    Args:
        learning_rate: the size of an update in spectral norm, about, before the shape scale; 0.01 to 0.02.
        rank: columns of P and Q, reduced to a matrix's shorter side, or a share of it: `linalg.RankFraction`.
        power_steps: how often P and R are computed at an update, each time from the R before.
        momentum: the decay rate mu of what was used; at full rank that of the heavy ball.
        eps: added to the lengths of columns, in units of the longest.
        seed: of the first Q.

    Differs from the authors' code: its sharded QR and its compressed exchange of gradients are left out, like
    matrices start from one Q, and eps is a part of the longest column, so that gradients of 1e-30 step like others.

    References:
        Ahn et al., Dion, arXiv 2504.05295; github.com/microsoft/dion.
    """
    transforms.require_fraction("dion: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.bind(transforms.low_rank_momentum)(momentum, rank, eps=eps, power_steps=power_steps, seed=seed),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
