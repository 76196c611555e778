"""LionMuon."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Bolatov et al., LionMuon, arXiv 2605.19811",
    confidence="EXACT",
    state="1",
    chain="two_rate_ema -> every P steps: orthogonalize -> scale_by_shape, else sign; each with decay -> learning rate",
    deviations="no adaptive trigger by stable rank; the default table is Polar Express",
    learning_rate=1e-3,
)
def lion_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    period: int = 2,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: tuple[Any, Any] = (0.9, 0.99),
    sign_scale: Any = 0.05,
    weight_decay: Any = 0.1,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise Lion's direction at every P-th step and take its sign at the others.

    For hidden matrices only, where Muon at every step costs too much. P = 1 is Muon on Lion's two-rate momentum.

    .. math::
        D_t &= \beta_1 M_{t-1} + (1 - \beta_1) G_t, \qquad M_t = \beta_2 M_{t-1} + (1 - \beta_2) G_t \\
        W_t &= W_{t-1} - \eta_t (c(\text{shape}) \operatorname{orth}(D_t) + \lambda W_{t-1})
        \quad \text{(first step, and every } P\text{-th)} \\
        W_t &= W_{t-1} - \rho \eta_t (\operatorname{sign}(D_t) + \lambda W_{t-1}) \quad \text{(else)}

    Args:
        learning_rate: of the orthogonalised steps; 1e-3 for P = 2 is the authors', more for a longer period.
        period: P, in steps.
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: beta_1 and beta_2, each in [0, 1).
        sign_scale: rho, the rate of the sign steps over the learning rate.
        weight_decay: decoupled, multiplied by the rate of the step.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are orthogonalised; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter.

    Differs from the authors' code: the two rates have one schedule; the trigger by stable rank is left out.

    References:
        Bolatov et al., arXiv 2605.19811; github.com/brain-lab-research/lion-muon.
    """
    decay = optax.add_decayed_weights(weight_decay)
    sign = optax.chain(optax.scale_by_sign(), decay, optax.scale(sign_scale))
    orthogonal = optax.chain(
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        decay,
    )
    return optax.chain(
        transforms.two_rate_ema(*momentum, accumulator_dtype=state_dtype),
        transforms.alternate(period, orthogonal, otherwise=sign),
        optax.scale_by_learning_rate(learning_rate),
    )
