"""Muown."""

import jax
import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "3 * outputs"),
    chain="in_weight_norm(nesterov_heavy_ball -> orthogonalize -> scale_by_shape -> learning rate | adam_direction -> "
    "learning rate) -> decay_at_rate(decay | learning rate)",
    learning_rate=3e-4,
)
def muown(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    magnitude_momentum: Number = 0.9,
    second_moment_decay: Number = 0.95,
    eps: float = 1e-8,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Turn the outputs' weights by Muon, and let Adam change their lengths.

    For hidden matrices only. Every gradient of the directions is orthogonal to them, so that Muon's step neither
    stretches nor shrinks a neuron; how long it is has a rule of its own.

    .. math::
        W_o &= g_o v_o / \|v_o\|, \qquad u_o = W_o / g_o, \qquad \nabla g_o = \langle G_o, u_o \rangle, \qquad
        \nabla v_o = \tfrac{g_o}{\|v_o\|} (G_o - \nabla g_o u_o) \\
        M_t &= \mu M_{t-1} + \nabla v, \qquad v \leftarrow v - \eta_t c(\text{shape}) \operatorname{orth}(\nabla v
        + \mu M_t), \qquad g \leftarrow g - \eta_t \operatorname{Adam}(\nabla g) \\
        W_t &= g \, v / \|v\| - \eta_t \lambda W_{t-1}

    Args:
        learning_rate: of both rules, as AdamW's.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        magnitude_momentum: Adam's first decay rate, for the lengths.
        second_moment_decay: Adam's second.
        eps: Adam's.
        weight_decay: lambda, of the weights, multiplied by the learning rate.

    Outputs whose weights are all zero have no direction, and never move.

    Differs from the authors' code where a length would go through zero: the neuron then comes out reversed, and theirs
    keeps a negative length. NVIDIA's variant has an average without Nesterov and decays g. The default table is Polar
    Express.

    References:
        Lion et al., Muown, arXiv 2605.10797; github.com/kcc-lion/muown.
    """
    transforms.require_fraction("muown: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    direction = optax.chain(
        on.heavy_ball(momentum, nesterov=nesterov),
        on.apply(orthogonalizer or best()),
        # The directions are as large as the weights, so the shape scale and the rate mean what they do for those.
        on.scale_by_shape(shape_scale),
        optax.scale_by_learning_rate(learning_rate),
    )
    magnitude = optax.chain(
        transforms.adam_direction(magnitude_momentum, second_moment_decay, eps=eps),
        optax.scale_by_learning_rate(learning_rate),
    )
    return optax.chain(
        on.bind(transforms.in_weight_norm)(direction, magnitude),
        _decay_at_rate(decayed_weights(weight_decay), optax.scale_by_learning_rate(learning_rate)),
    )


def _decay_at_rate(
    decay: optax.GradientTransformation, rate: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Add decay times the rate to an update that has its rate already; a cautious decay sees that update's ascent."""
    decay, rate = map(optax.with_extra_args_support, (decay, rate))

    def update_fn(updates, state, params=None, **extra_args):
        """Let the decay add what it adds to the ascent, and scale that alone."""
        ascent = jax.tree.map(lambda u: -u, updates)
        decayed, first = decay.update(ascent, state[0], params, **extra_args)
        added = jax.tree.map(lambda new, old: new - old, decayed, ascent)
        step, second = rate.update(added, state[1], params, **extra_args)
        return jax.tree.map(lambda u, s: u + s, updates, step), (first, second)

    return optax.GradientTransformationExtraArgs(lambda params: (decay.init(params), rate.init(params)), update_fn)
