"""MuonEq."""

from typing import Any, Literal

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="MuonEq, arXiv 2603.28254",
    confidence="EXACT",
    state="1",
    chain="nesterov heavy ball -> equilibrate -> orthogonalize -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="no phase switch, clamp or Schatten-8 norm; the default table is Polar Express, theirs JORDAN_2024",
    learning_rate=1e-3,
)
def muoneq(
    learning_rate: optax.ScalarOrSchedule,
    *,
    side: Literal["output", "reduction", "both"] = "output",
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.95,
    nesterov: bool = True,
    epsilon: float = 1e-8,
    weight_decay: Any = 0.1,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
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
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        epsilon: added to the sums of squares, in units of squared gradients.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are orthogonalised; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter.

    Differs from the authors' code: its switch from RC to R after k steps, its clamp of the factors and its Schatten-8
    input norm are left out; `transforms.equilibrate` has the power -1/4.

    References:
        MuonEq, arXiv 2603.28254; github.com/MaeChd/muon-eq.
    """
    transforms.require_fraction("muoneq: momentum", momentum)
    return optax.chain(
        optax.trace(momentum, nesterov, accumulator_dtype=state_dtype),
        transforms.equilibrate(side, epsilon=epsilon, leaves=leaves),
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
