"""Conda: column-normalized Adam."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import NormalizeInBasis


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(2, "min(inputs, outputs) ** 2"),
    chain="with_gradients(ema -> NormalizeInBasis) -> scale -> decay -> learning rate",
    learning_rate=0.01,
)
def conda(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.9,
    second_moment_decay: Number = 0.99,
    refresh_every: int = 2000,
    scale: Number = 0.25,
    eps: float = 1e-8,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Adam's second moment in the momentum's singular vectors on the shorter side.

    For hidden matrices; between Adam and SOAP: one basis, renewed rarely, and none of SOAP's averaged factors.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad Q: \text{left singular vectors of } M_t
        \text{ (the shorter side's), every } T \text{ updates} \\
        V_t &= \beta V_{t-1} + (1 - \beta) (Q^T G_t)^2, \qquad
        U_t = Q \frac{Q^T M_t}{\sqrt{V_t} + \varepsilon} \cdot \frac{\sqrt{1 - \beta^t}}{1 - \mu^t} \\
        W_t &= W_{t-1} - \eta_t \left( 0.25 \, U_t + \lambda W_{t-1} \right)

    Args:
        learning_rate: the authors take 0.006 for GPT-2 and 0.01 for a model of 60 million parameters.
        second_moment_decay: beta.
        refresh_every: T, updates between decompositions of the momentum.
        scale: of the update.
        eps: added to the root of V.
        state_dtype: of the momentum. Second moment and basis are float32 or wider.

    Differs from the authors' code: the singular vectors come from the smaller Gram matrix, equal sides take the
    inputs' side as theirs do, and weights decay with the step and not after it.

    References:
        Wang et al., Conda: Column-Normalized Adam for Training Large Language Models Faster, arXiv 2509.24218;
        github.com/jie040109/Conda.
    """
    transforms.require_fraction("conda: momentum", momentum)
    transforms.require_fraction("conda: second_moment_decay", second_moment_decay)
    on = Stages(leaves, placement, state_dtype)
    normalize = NormalizeInBasis(second_moment_decay, refresh_every, eps)
    return optax.chain(
        transforms.with_gradients(
            optax.chain(
                optax.ema(momentum, debias=True, accumulator_dtype=state_dtype), on.apply_with_gradients(normalize)
            )
        ),
        optax.scale(scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
