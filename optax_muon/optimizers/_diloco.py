"""DiLoCo: any optimizer on workers that seldom meet."""

import optax

from optax_muon import transforms, workers
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number


@card(
    kind="wrapper",
    confidence="EXACT",
    state=StateSize(3, note="a momentum's 1 inside among them, else what ``inner`` has"),
    chain="local_steps(inner | average_over -> nesterov_heavy_ball -> learning rate)",
    learning_rate=0.7,
    in_place=True,
    defaults={"inner": optax.sgd(0.1, momentum=0.9)},
)
def diloco(
    learning_rate: optax.ScalarOrSchedule,
    inner: optax.GradientTransformation,
    *,
    period: int = 30,
    momentum: Number = 0.9,
    compressor: optax.GradientTransformation | None = None,
    axis_name: workers.AxisName = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Let every worker go its own way for some steps, and take one Nesterov step along the mean of what they did.

    Around a whole optimizer and, unlike other optimizers here, for any leaves: put it around the partition, so that
    all of a model meets at once. `muloco` is this around Muon.

    .. math::
        \Delta_i &= X - W_i \text{ after } H \text{ steps of ``inner``}, \qquad
        \Delta = \tfrac{1}{N} \textstyle\sum_i \Delta_i, \qquad B \leftarrow \mu B + \Delta \\
        X &\leftarrow X - \eta (\Delta + \mu B), \qquad W_i \leftarrow X

    Args:
        learning_rate: eta, of the meetings; 1 without momentum is plain averaging.
        inner: a whole optimizer with its rate; it keeps its state over meetings.
        period: H, steps between two meetings.
        momentum: mu, of the heavy ball of differences, in [0, 1).
        compressor: of the differences, a contraction such as ``transforms.top_k(0.1)``, in EF21's `workers.exchange`;
            None: they are averaged whole.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker.
        placement: that of ``inner`` is its own; taken so that optimizers can be exchanged.
        state_dtype: of the heavy ball.

    References:
        Douillard et al., DiLoCo, arXiv 2311.08105.
    """
    del placement
    transforms.require_fraction("diloco: momentum", momentum)
    on = Stages(leaves, None, state_dtype)
    agree = workers.average_over(axis_name) if compressor is None else on.bind(workers.exchange)(compressor, axis_name)
    outer = optax.chain(agree, on.heavy_ball(momentum, nesterov=True), optax.scale_by_learning_rate(learning_rate))
    return workers.local_steps(inner, outer, period, axis_name)
