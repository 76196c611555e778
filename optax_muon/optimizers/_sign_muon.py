"""SignMuon."""

from typing import Any

import optax

from optax_muon import transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Mishra et al., SignMuon, arXiv 2605.16311",
    confidence="EXACT",
    state="1; 2 with error feedback",
    chain="coupled decay -> ema -> orthogonalize -> sign (or follow) -> learning rate",
    deviations="one worker; the rule as third parties restate it; the sign of zero is zero; no optional polar step",
    learning_rate=1e-3,
)
def sign_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    error_feedback: bool = False,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.95,
    nesterov: bool = False,
    weight_decay: Any = 0.0,
    decoupled: bool = False,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Take the sign of the orthogonalised momentum.

    For hidden matrices only: a message of one bit per entry, every entry of the update as large as the learning rate.
    It need not descend, see `muon_usign`; the form with error feedback can diverge, as its authors prove.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) (G_t + \lambda W_{t-1}), \qquad O_t = \operatorname{orth}(M_t) \\
        W_t &= W_{t-1} - \eta_t \operatorname{sign}(O_t); \quad \text{with feedback } W_{t-1} - \eta_t d_t, \quad
        d_t = d_{t-1} + C(O_t - d_{t-1})

    C is `transforms.scale_by_mean_sign`.

    Args:
        learning_rate: the size of every entry of an update.
        error_feedback: EF21, an estimate of O that compressed differences move.
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu, in [0, 1).
        nesterov: look one step ahead by interpolation.
        weight_decay: lambda.
        decoupled: False: the decay is part of the gradient, the rule of the first paper. True: it stands beside the
            step, multiplied by the learning rate, as the authors of the error feedback take it: the step is as long
            whatever the gradient is, so a decay inside it only turns it.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are orthogonalised; None: on the spot.
        state_dtype: of momentum and estimate; None: the parameters' own.

    State: 1 float per parameter; 2 with error feedback.

    Differs from the papers: one worker, without the vote; the sign of an exact zero is zero, not random; EF21-SignMuon
    has the coupled decay of SignMuon unless ``decoupled``.

    References:
        Mishra et al., arXiv 2605.16311; github.com/intsystems/SignMuon.
    """
    transforms.require_fraction("sign_muon: momentum", momentum)
    decay = optax.add_decayed_weights(weight_decay)
    return optax.chain(
        *([] if decoupled else [decay]),
        transforms.ema(momentum, nesterov=nesterov, accumulator_dtype=state_dtype),
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.signs(error_feedback=error_feedback, leaves=leaves, accumulator_dtype=state_dtype),
        *([decay] if decoupled else []),
        optax.scale_by_learning_rate(learning_rate),
    )
