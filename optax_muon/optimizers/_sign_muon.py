"""SignMuon."""

import optax

from optax_muon import transforms, workers
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import Form, StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, forms=(Form("with error feedback", {"error_feedback": True}, StateSize(2)),)),
    chain="decay -> ema -> orthogonalize -> signs -> learning rate",
    learning_rate=1e-3,
)
def sign_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    error_feedback: bool = False,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    decoupled: bool = False,
    axis_name: workers.AxisName = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
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
        weight_decay: lambda.
        decoupled: False: the decay is part of the gradient, the rule of the first paper. True: it stands beside the
            step, multiplied by the learning rate, as the authors of the error feedback take it: the step is as long
            whatever the gradient is, so a decay inside it only turns it.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`: each worker averages its own gradients, and the
            step is the majority's sign, `workers.vote`; with error feedback the mean of all estimates,
            `workers.exchange`. None: one worker.
        state_dtype: of momentum and estimate.

    Differs from the papers, whose rule is taken as third parties restate it: the sign of an exact zero is zero, not
    random, and so is that of a tie; EF21-SignMuon has the coupled decay of SignMuon unless ``decoupled``; no optional
    polar step.

    References:
        Mishra et al., SignMuon, arXiv 2605.16311; github.com/intsystems/SignMuon.
    """
    transforms.require_fraction("sign_muon: momentum", momentum)
    on = Stages(workers.own_matrices(leaves, axis_name), placement, state_dtype)
    decay = decayed_weights(weight_decay)
    if axis_name is None:
        signs = on.bind(transforms.signs)(error_feedback=error_feedback)
    elif error_feedback:
        signs = on.bind(workers.exchange)(on.bind(transforms.scale_by_mean_sign)(), axis_name)
    else:
        signs = workers.vote(axis_name)
    return optax.chain(
        *([] if decoupled else [decay]),
        workers.own_state(on.ema(momentum, nesterov=nesterov), axis_name),
        on.apply(orthogonalizer or best()),
        signs,
        *([decay] if decoupled else []),
        optax.scale_by_learning_rate(learning_rate),
    )
