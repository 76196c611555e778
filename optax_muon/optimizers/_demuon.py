"""DeMuon."""

import optax

from optax_muon import shapes, transforms, workers
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, note="1 more where there are other workers"),
    chain="ema -> track -> orthogonalize -> scale_by_shape -> decay -> learning rate -> mix_params",
)
def demuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    graph: workers.Graph = workers.Ring(),  # noqa: B008 - immutable
    mixing: optax.GradientTransformation | None = None,
    axis_name: workers.AxisName = None,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon on workers that hear their neighbours alone, each with weights of its own.

    For hidden matrices only, where there is no server and no all-reduce. Each worker orthogonalises its estimate of the
    mean momentum, and takes the mean of its neighbours' weights.

    .. math::
        M_i &= \mu M_i^{\text{old}} + (1 - \mu) G_i, \qquad
        V_i \leftarrow \textstyle\sum_j w_{ij} (V_j + M_j - M_j^{\text{old}}) \\
        W_i &\leftarrow \textstyle\sum_j w_{ij} \left(
        W_j - \eta_t (c(\text{shape}) \operatorname{orth}(V_j) + \lambda W_j) \right)

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale.
        graph: who hears whom and with what weights, a `workers.Graph`.
        mixing: of the weights, last in the chain; None: `workers.mix_params` over the graph. `suda_muon` has another.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, which is Muon without
            look-ahead.
        state_dtype: of momentum and estimate.

    Differs from the paper, whose rule is taken as a third party restates it: a shape scale and a decay, which it has
    not.

    References:
        He, Ren, Mao, Larsson, DeMuon: A Decentralized Muon for Matrix Optimization over Graphs, arXiv 2510.01377.
    """
    transforms.require_fraction("demuon: momentum", momentum)
    on = Stages(workers.own_matrices(leaves, axis_name), placement, state_dtype)
    return optax.chain(
        workers.own_state(on.ema(momentum), axis_name),
        on.bind(workers.track)(graph, axis_name),
        on.apply(orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
        workers.mix_params(graph, axis_name) if mixing is None else mixing,
    )
