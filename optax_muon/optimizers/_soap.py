"""SOAP: Adam in Shampoo's eigenbasis."""

import jax.numpy as jnp
import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg.subspace._eigenbasis import Basis, EigenBasis


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(2, "2 * (inputs**2 + outputs**2)", note="a side above ``max_side`` keeps none"),
    chain="rotated(adam_direction) -> decay -> scale_by_schedule -> learning rate",
    learning_rate=3e-3,
    renamed={"second_moment": "second_moment_decay", "epsilon": "eps"},
)
def soap(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.95,
    second_moment_decay: Number = 0.95,
    eps: Number = 1e-8,
    basis: Basis = EigenBasis(),  # noqa: B008 - immutable
    skip_first: bool = True,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Adam in slowly turning eigenbases of the gradient's averaged Gram matrices.

    For hidden matrices. Compared with Muon it remembers how large gradients are in every direction, at the price of two
    square matrices a side; AdamW's learning rates carry over.

    .. math::
        G'_t &= Q_L^T G_t Q_R, \qquad
        N'_t = \frac{\hat M'_t}{\sqrt{\hat V'_t} + \varepsilon} \quad (\text{Adam's averages of } G') \\
        W_t &= W_{t-1} - \eta_t \left( Q_L N'_t Q_R^T + \lambda W_{t-1} \right)

    The first update is zero: it only seeds the bases. They change every ``refresh_every`` updates, M' with them.

    Args:
        learning_rate: AdamW's own; the authors take 3e-3.
        momentum: Adam's first decay rate.
        second_moment_decay: Adam's second.
        eps: Adam's.
        basis: `linalg.EigenBasis(decay, refresh_every, max_side)`, or any other of `linalg`: with
            ``linalg.IdentityBasis()`` this is AdamW, ``linalg.RandomBasis(seed)`` is covered by arXiv 2604.21616.
        skip_first: give zero at the first update, as the authors do; False for bases that need no gradient.
        state_dtype: of Adam's first average. Factors and bases are float32 or wider.

    Differs from the authors' code: decay is applied to the weights before the step; eps stands in optax's place;
    columns of a basis keep their order when they are refreshed instead of moving the second moments along.

    References:
        Vyas et al., SOAP, arXiv 2409.11321, algorithm 3; Li, Lin, its analysis for any projection, arXiv 2604.21616.
    """
    transforms.require_fraction("soap: momentum", momentum)
    transforms.require_fraction("soap: second_moment_decay", second_moment_decay)
    on = Stages(leaves, placement, state_dtype)
    adam = on.bind(transforms.adam_direction)(momentum, second_moment_decay, eps=eps)
    # The decay too is held back at the first update.
    held = [optax.scale_by_schedule(lambda count: jnp.minimum(count, 1))] if skip_first else []
    return optax.chain(
        on.bind(transforms.rotated)(adam, basis, skip_first=skip_first),
        decayed_weights(weight_decay),
        *held,
        optax.scale_by_learning_rate(learning_rate),
    )
