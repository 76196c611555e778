"""Schedule-free NorMuon."""

from typing import Any

import optax

from optax_muon import transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Apte et al., Anytime Training with Schedule-Free Spectral Optimization, arXiv 2605.23061",
    confidence="EXACT",
    state="2, and 1 per output",
    chain="schedule_free(ema -> orthogonalize -> normalize_neurons -> scale_to_rms -> decay -> warmed-up rate)",
    deviations="decay takes the warmed-up rate, on which the sources differ; the default table is Polar Express",
    learning_rate=0.008,
    defaults={"warmup_steps": 10},
)
def sf_normuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    warmup_steps: int,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.8,
    second_moment: Any = 0.95,
    interpolation: float = 0.9,
    rms: float = 0.2,
    weight_decay: Any = 0.05,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
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
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu, in [0, 1); without it results suffer a lot.
        second_moment: beta, in [0, 1).
        interpolation: b, in (0, 1).
        rms: root mean square of the entries of an update.
        weight_decay: acts on the fast iterate Z, multiplied by the learning rate.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum and of Z; None: the parameters' own.

    State: 2 floats per parameter and 1 per output (M, Z and v; X is solved for).

    Differs from one of the two restatements that were read, whose decay takes the rate without its warm-up.

    References:
        arXiv 2605.23061, algorithm 1.
    """
    transforms.require_fraction("sf_normuon: momentum", momentum)
    if warmup_steps < 1:
        raise ValueError(f"sf_normuon: warmup_steps must be at least 1, not {warmup_steps}")
    rate = transforms.warmed_up(learning_rate, warmup_steps)
    fast = optax.chain(
        optax.ema(momentum, debias=False, accumulator_dtype=state_dtype),
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.normalize_neurons(second_moment, epsilon=1e-8, leaves=leaves),
        transforms.scale_to_rms(rms, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    return transforms.schedule_free(fast, rate, interpolation, state_dtype=state_dtype)
