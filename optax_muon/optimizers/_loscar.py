"""LOSCAR: local steps, sparse and overlapped averaging."""

import optax

from optax_muon import workers
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike


@card(
    kind="wrapper",
    confidence="EXACT",
    state=StateSize(1, note="that of a momentum inside, else what ``inner`` has; 1 more where there are other workers"),
    chain="inner -> learning rate -> merge_overlapped",
    learning_rate=0.1,
    in_place=True,
    defaults={"inner": optax.trace(0.9)},
    static=("fraction",),
)
def loscar(
    learning_rate: optax.ScalarOrSchedule,
    inner: optax.GradientTransformation,
    *,
    period: int = 8,
    overlap: int = 1,
    fraction: float = 0.5,
    axis_name: workers.AxisName = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Let workers go their own way, average a random part of their weights now and then, and go on in the meantime.

    Around any direction, such as Muon's chain without its rate, where the way between workers is slow: what a worker
    does while the mean is on its way is added to the mean instead of being overwritten by it.

    .. math::
        y_i = W_i \text{ after step } H - Q \text{ of a round}, \qquad z_i = W_i \text{ after step } H, \qquad
        W_i \leftarrow z_i + S \circ \left( \tfrac{1}{N} \textstyle\sum_j y_j - y_i \right)

    Args:
        learning_rate: eta, of ``inner``'s direction.
        inner: a transformation without its rate, whose update ascends, such as ``optax.identity()`` for SGD.
        period: H, steps of a round.
        overlap: Q, steps during which the mean is on its way, below H.
        fraction: of every matrix's entries that are averaged, S, drawn anew in each round.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, ``inner`` alone.
        placement: that of ``inner`` is its own; taken so that optimizers can be exchanged.
        state_dtype: in which the step is computed; ``inner`` has its own.

    Differs from the paper, whose rule is taken as a third party restates it: workers take as many steps as each other,
    the entries are drawn for every matrix on its own, and vectors are averaged whole.

    References:
        Maziane et al., LOSCAR-SGD, arXiv 2605.20866.
    """
    del placement
    on = Stages(leaves, None, state_dtype)
    return optax.chain(
        inner,
        optax.scale_by_learning_rate(learning_rate),
        on.bind(workers.merge_overlapped)(period, axis_name, overlap=overlap, fraction=fraction),
    )
