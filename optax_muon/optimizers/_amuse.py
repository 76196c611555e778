"""AMUSE: anytime Muon on a schedule-free average."""

from typing import Literal

import optax

from optax_muon import shapes, transforms
from optax_muon._numbers import is_known
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(2, note="X is solved for"),
    chain="schedule_free(nesterov_ema -> orthogonalize -> scale_by_shape -> decay -> learning rate)",
    defaults={"warmup_steps": 10},
)
def amuse(
    learning_rate: optax.ScalarOrSchedule,
    *,
    warmup_steps: int,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    interpolation: float = 0.9,
    exponent: Number = 1.0,
    form: Literal["weights", "steps", "published"] = "weights",
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon without a schedule: a fast iterate, its average, and gradients ever nearer to the average.

    For hidden matrices; give it a constant rate and stop when you like. Evaluate with `optax_muon.eval_params`, always:
    the parameters themselves are the point where gradients are taken. Beside it belongs another schedule-free
    optimizer; the authors take schedule-free AdamW without first moment.

    .. math::
        Y_t &= (1 - b_t) Z_t + b_t X_t, \qquad G_t = \nabla f(Y_t) \\
        Z_{t+1} &= (1 - \eta_t \lambda) Z_t - \eta_t \, s(\text{shape}) \operatorname{orth}(\mu M_t + (1 - \mu) G_t) \\
        X_{t+1} &= (1 - c_t) X_t + c_t Z_{t+1}, \qquad c_t = \eta_t^2 / \textstyle\sum_{i \le t} \eta_i^2,
        \qquad \eta_t = \eta \min(1, t / T_0) \\
        b_t &= b \ (t \le T_0), \qquad 1 - S_t^{\rho} (1 - b) \ (t > T_0)

    Args:
        learning_rate: eta after the warm-up; the authors take 0.01 for language models. A schedule is multiplied in,
            but b follows the warm-up alone.
        warmup_steps: T_0, at least 2.
        interpolation: b of the warm-up, in (0, 1); the authors take 0.4 to 0.9.
        exponent: rho; 0 keeps b, 0.8 to 1 is the authors' choice for language models.
        form: of S, see `transforms.anytime_interpolation`.
        weight_decay: acts on the fast iterate Z, multiplied by the learning rate.
        shape_scale: s, an object of `optax_muon.shapes`.
        state_dtype: of the momentum and of Z.

    Differs from the authors' code, which makes :math:`Y_{t+1}` with :math:`b_t`, one step behind the rule, and solves
    it for X with :math:`b_{t+1}`, which pulls X towards Z a little at every step; here both are done with
    :math:`b_{t+1}`. In the warm-up, where b is constant, there is no difference.

    References:
        Kim et al., AMUSE: Anytime Muon with Stable Gradient Evaluation, arXiv 2605.22432, first and second version.
    """
    transforms.require_fraction("amuse: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    rate = transforms.warmed_up(learning_rate, warmup_steps)
    fast = optax.chain(
        on.ema(momentum, nesterov=True),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    if is_known(interpolation) and not 0 < interpolation < 1:
        raise ValueError(f"amuse: interpolation must be in (0, 1), not {interpolation}")
    rising = transforms.anytime_interpolation(interpolation, exponent, warmup_steps, form)
    return on.bind(transforms.schedule_free)(fast, rate, rising)
