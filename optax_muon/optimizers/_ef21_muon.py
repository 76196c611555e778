"""EF21-Muon."""

import optax

from optax_muon import shapes, transforms, workers
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import Form, StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(
        2,
        forms=(Form("with a compressor down", {"compressor_down": transforms.scale_by_mean_sign()}, StateSize(3)),),
        note="1 more where there are other workers",
    ),
    chain="ema -> exchange(top_k) -> orthogonalize -> scale_by_shape -> decay -> learning rate",
)
def ef21_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    compressor_up: optax.GradientTransformation | None = None,
    compressor_down: optax.GradientTransformation | None = None,
    axis_name: workers.AxisName = None,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.9,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the mean of estimates of all workers' momenta, which compressed differences move.

    For hidden matrices only, where the way between workers is slow: a tenth of a momentum's entries travels, and what
    is left out comes later. On one worker a compressed Muon.

    .. math::
        M_j &= \mu M_j + (1 - \mu) \nabla f_j(W), \qquad R_j = C(M_j - G_j), \qquad G_j \leftarrow G_j + R_j \\
        G &\leftarrow G + \tfrac{1}{N} \textstyle\sum_j R_j, \qquad
        X \leftarrow X - \eta_t (c(\text{shape}) \operatorname{orth}(G) + \lambda X), \qquad
        W \leftarrow W + C_\downarrow(X - W)

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale.
        compressor_up: C, what workers send, a contraction; default ``transforms.top_k(0.1)``.
        compressor_down: of what a server would send to the workers; every worker carries it out, so it saves no bytes
            here and shows what it costs. None: the weights are exact, W = X.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker.
        momentum: the decay rate mu, in [0, 1); 1 less the paper's beta, the weight of the new gradient.
        state_dtype: of momentum and estimates.

    Differs from the paper, whose rule is taken as third parties restate it: ratios of the compressors and the momentum
    were not seen; every worker keeps the server's estimate, so that nothing but messages travels.

    References:
        Gruntkowska et al., Error Feedback for Muon and Friends, arXiv 2510.00643.
    """
    transforms.require_fraction("ef21_muon: momentum", momentum)
    on = Stages(workers.own_matrices(leaves, axis_name), placement, state_dtype)
    step = optax.chain(
        workers.own_state(on.ema(momentum), axis_name),
        on.bind(workers.exchange)(compressor_up or on.bind(transforms.top_k)(0.1), axis_name),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    return step if compressor_down is None else transforms.step_by_messages(compressor_down, step)
