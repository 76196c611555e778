"""PolarAdamW."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Haozhou Zhang, PolarAdamW, arXiv 2605.07067",
    confidence="PARTIAL",
    state="2",
    chain="scale_by_adam -> orthogonalize -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="the rule is the abstract's; rates, bias corrections, shape scale and decay are our reading",
)
def polar_adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.9,
    second_moment: Any = 0.999,
    epsilon: float = 1e-8,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise AdamW's direction instead of the momentum.

    For hidden matrices only. The spectral norm of an update stays bounded as Muon's, and gradients scaled entry by
    entry give the same update, which Muon's do not; rotations of the gradient no longer commute with the step.

    .. math::
        M_t &= \beta_1 M_{t-1} + (1 - \beta_1) G_t, \qquad V_t = \beta_2 V_{t-1} + (1 - \beta_2) G_t^2 \\
        A_t &= \frac{M_t / (1 - \beta_1^t)}{\sqrt{V_t / (1 - \beta_2^t)} + \epsilon}, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(A_t) + \lambda W_{t-1} \right)

    Args:
        learning_rate: about an entry's step over 0.2 with `shapes.RMSMatch(0.2)`, as AdamW's.
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: beta_1, in [0, 1).
        second_moment: beta_2, in [0, 1).
        epsilon: Adam's, in units of gradients.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are orthogonalised; None: on the spot.
        state_dtype: of the first moment; None: the parameters' own.

    State: 2 floats per parameter.

    Differs from the paper in what its abstract leaves open: Adam's usual rates and both bias corrections, the shape
    scale and the decay are ours.

    References:
        Haozhou Zhang, arXiv 2605.07067.
    """
    transforms.require_fraction("polar_adamw: momentum", momentum)
    transforms.require_fraction("polar_adamw: second_moment", second_moment)
    return optax.chain(
        optax.scale_by_adam(momentum, second_moment, epsilon, mu_dtype=state_dtype),
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
