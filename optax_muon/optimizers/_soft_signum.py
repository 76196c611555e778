"""SoftSignum."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_muon import transforms
from optax_muon._numbers import is_known, require_share
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import cutting_axes


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="tempered(ema) -> decay -> learning rate -> only_real",
    learning_rate=1e-3,
    static=("hard_fraction",),
    defaults={"steps": 60},
    in_place=True,
    couples=True,
    renamed={"epsilon": "eps"},
)
def soft_signum(
    learning_rate: optax.ScalarOrSchedule,
    *,
    steps: int,
    hard_fraction: float = 0.9,
    momentum: Number = 0.95,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    maximum_temperature: float = 1e9,
    eps: float = 1e-4,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Take the sign of the momentum, and near the end of training a tanh that lets small entries step less.

    For any leaf, embeddings and vectors as well: the rule is entrywise. The temperature follows from two medians over
    all entries at the switch, so every leaf given to one optimizer shares it.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t \\
        W_t &= W_{t-1} - \eta_t (\operatorname{sign}(M_t) + \lambda W_{t-1}) \quad (t \le \alpha N) \\
        W_t &= W_{t-1} - \eta_t (\tanh(\tau_t M_t) + \lambda W_{t-1}) \quad \text{(after)}

    Args:
        learning_rate: the largest step of an entry.
        steps: N, of the whole training.
        hard_fraction: alpha, the share of it with signs; 1 is Signum.
        maximum_temperature: cap of tau, in reciprocal units of the gradient.
        eps: an entry counts as saturated from ``tanh = 1 - eps`` on.
        leaves: of use inside `jax.shard_map` alone, where their specs tell how arrays are cut: the rule is entrywise.
        placement: unused, likewise.

    Differs from the authors' code: an average instead of PyTorch's momentum with dampening.

    References:
        Feoktistov et al., Softsign, arXiv 2605.31371; github.com/brain-lab-research/softsign.
    """
    transforms.require_fraction("soft_signum: momentum", momentum)
    require_share("soft_signum: hard_fraction", hard_fraction)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        transforms.tempered(
            on.ema(momentum, nesterov=nesterov),
            hard=lambda m: jax.tree.map(jnp.sign, m),
            soft=lambda m, tau: jax.tree.map(lambda x: jnp.tanh(tau.astype(x.dtype) * x), m),
            measure=lambda g, m: jax.tree.leaves(m),
            steps=steps,
            hard_steps=int(hard_fraction * steps),
            saturation=_level(eps),
            maximum=maximum_temperature,
            cut=lambda g: list(cutting_axes(g, leaves).values()),
        ),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
        _only_real(),  # last, so that older states are where they were
    )


def _only_real() -> optax.GradientTransformation:
    """Raise at ``init`` for a complex parameter, whose entries have no median."""

    def init_fn(params):
        for path, x in by_path(params).items():
            if jnp.issubdtype(x.dtype, jnp.complexfloating):
                raise TypeError(
                    f"{path}: soft_signum takes real arrays, not {x.dtype}; give it real and imaginary parts, or "
                    "another optimizer by a rule"
                )
        return optax.EmptyState()

    return optax.GradientTransformation(init_fn, lambda updates, state, params=None: (updates, state))


def _level(epsilon: Any) -> Any:
    """Give ``atanh(1 - epsilon)`` of a number or a tracer; in float32 the difference would lose epsilon's digits."""
    return (math.log if is_known(epsilon) else jnp.log)((2 - epsilon) / epsilon) / 2
