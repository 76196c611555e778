"""Schedule-free NorMuon."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(2, "outputs", note="X is solved for"),
    chain="schedule_free(ema -> orthogonalize -> normalize_neurons -> scale_to_rms -> decay -> learning rate)",
    learning_rate=0.008,
    defaults={"warmup_steps": 10},
    renamed={"second_moment": "second_moment_decay"},
)
def sf_normuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    warmup_steps: int,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.8,
    second_moment_decay: Number = 0.95,
    interpolation: float = 0.9,
    rms: float = 0.2,
    weight_decay: WeightDecay = 0.05,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run NorMuon without a schedule, gradients between a fast iterate and its average.

    For hidden matrices; give it a constant rate and stop when you like. Evaluate with `optax_muon.eval_params`, always.

    .. math::
        Y_t &= (1 - b) Z_t + b X_t, \qquad M_t = \mu M_{t-1} + (1 - \mu) \nabla f(Y_t), \qquad
        P_t = \operatorname{orth}(M_t) \\
        v_t &= \beta v_{t-1} + (1 - \beta) \operatorname{mean}_{\text{in}} P_t^2, \qquad
        \hat P_t = P_t / (\sqrt{v_t} + \epsilon) \\
        Z_{t+1} &= Z_t - \eta_t \left( 0.2 \sqrt{m n} \, \hat P_t / \|\hat P_t\|_F + \lambda Z_t \right),
        \qquad X_{t+1} = X_t + \frac{\eta_t^2}{\sum_{i \le t} \eta_i^2} (Z_{t+1} - X_t)

    Args:
        learning_rate: eta after the warm-up; the authors take 0.008.
        warmup_steps: of a linear warm-up, at least 1.
        momentum: the decay rate mu, in [0, 1); without it results suffer a lot.
        second_moment_decay: beta, in [0, 1).
        interpolation: b, in (0, 1).
        weight_decay: acts on the fast iterate Z, multiplied by the learning rate.
        state_dtype: of the momentum and of Z.

    Differs from one of the two restatements that were read, whose decay takes the rate without its warm-up; the
    default table is Polar Express.

    References:
        Apte et al., Anytime Training with Schedule-Free Spectral Optimization, arXiv 2605.23061, algorithm 1.
    """
    transforms.require_fraction("sf_normuon: momentum", momentum)
    if warmup_steps < 1:
        raise ValueError(f"sf_normuon: warmup_steps must be at least 1, not {warmup_steps}")
    on = Stages(leaves, placement, state_dtype)
    rate = transforms.warmed_up(learning_rate, warmup_steps)
    fast = optax.chain(
        on.ema(momentum),
        on.apply(orthogonalizer or best()),
        on.bind(transforms.normalize_neurons)(second_moment_decay, eps=1e-8),
        on.bind(transforms.scale_to_rms)(rms),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    return on.bind(transforms.schedule_free)(fast, rate, interpolation)
