"""LionMuon."""

import jax.numpy as jnp
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
    chain="two_rate_ema -> alternate(orthogonalize -> scale_by_shape | scale_by_sign) -> decay -> "
    "scale_by_schedule -> learning rate",
    learning_rate=1e-3,
    renamed={"momentum": ("step_decay", "average_decay")},
)
def lion_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    period: int = 2,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    step_decay: Number = 0.9,
    average_decay: Number = 0.99,
    sign_scale: Number = 0.05,
    weight_decay: WeightDecay = 0.1,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
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
        step_decay: beta_1, in [0, 1).
        average_decay: beta_2, in [0, 1).
        sign_scale: rho, the rate of the sign steps over the learning rate.
        weight_decay: decoupled, multiplied by the rate of the step.

    Differs from the authors' code: the default table is Polar Express. That code's trigger by stable rank in place of
    the period, off by default, is `transforms.where_low_rank`; of its published runs those with a period of 2 ended
    lower on two of three texts.

    References:
        Bolatov et al., LionMuon, arXiv 2605.19811; github.com/brain-lab-research/lion-muon.
    """
    on = Stages(leaves, placement, state_dtype)
    orthogonal = optax.chain(on.apply(orthogonalizer or best()), on.scale_by_shape(shape_scale))
    return optax.chain(
        on.bind(transforms.two_rate_ema)(step_decay, average_decay),
        transforms.alternate(period, orthogonal, otherwise=optax.scale_by_sign()),
        decayed_weights(weight_decay),
        # After the decay, which takes the rate of the step.
        optax.scale_by_schedule(lambda count: jnp.where(jnp.asarray(count) % period == 0, 1.0, sign_scale)),
        optax.scale_by_learning_rate(learning_rate),
    )
