"""MuLoCo."""

import optax

from optax_muon import shapes, transforms, workers
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap
from optax_muon.optimizers._diloco import diloco
from optax_muon.optimizers._muon import muon


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(3),
    chain="local_steps(nesterov_ema -> orthogonalize -> scale_by_shape -> decay -> learning rate | "
    "average_over -> nesterov_heavy_ball -> learning rate)",
    # Short runs meet often, and one worker has no use for a heavy ball of meetings.
    defaults={"period": 4, "outer_momentum": 0.5},
)
def muloco(
    learning_rate: optax.ScalarOrSchedule,
    *,
    period: int = 30,
    outer_learning_rate: optax.ScalarOrSchedule = 0.7,
    outer_momentum: Number = 0.9,
    compressor: optax.GradientTransformation | None = None,
    axis_name: workers.AxisName = None,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Let every worker run Muon on its own for some steps, and take one Nesterov step along the mean of what they did.

    For hidden matrices only, where workers can talk once in many steps alone: DiLoCo around Muon.

    .. math::
        \Delta_i &= X - W_i \text{ after } H \text{ steps of Muon}, \qquad
        \Delta = \tfrac{1}{N} \textstyle\sum_i \Delta_i, \qquad B \leftarrow \mu_o B + \Delta \\
        X &\leftarrow X - \eta_o (\Delta + \mu_o B), \qquad W_i \leftarrow X

    Args:
        learning_rate: of Muon, the size of an update in spectral norm, before the shape scale.
        period: H, steps between two meetings.
        outer_learning_rate: eta_o; 1 without outer momentum is plain averaging.
        outer_momentum: mu_o, of the heavy ball of differences, in [0, 1).
        compressor: of the differences, a contraction such as ``transforms.top_k(0.1)``, in EF21's `workers.exchange`;
            None: they are averaged whole.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker.
        state_dtype: of Muon's momentum.

    Differs from the paper in what of it was seen, a summary: the numbers of its outer optimizer were not. It compresses
    with error feedback, which is another estimate than EF21's.

    References:
        Thérien et al., MuLoCo, arXiv 2505.23725; Douillard et al., DiLoCo, arXiv 2311.08105.
    """
    transforms.require_fraction("muloco: outer_momentum", outer_momentum)
    own = workers.own_matrices(leaves, axis_name)
    inner = muon(
        learning_rate,
        orthogonalizer=orthogonalizer,
        momentum=momentum,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        leaves=own,
        placement=placement,
        state_dtype=state_dtype,
    )
    return diloco(
        outer_learning_rate,
        inner,
        period=period,
        momentum=outer_momentum,
        compressor=compressor,
        axis_name=axis_name,
        leaves=own,
    )
