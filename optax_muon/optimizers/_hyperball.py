"""Hyperball: any optimizer on a sphere."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike


@card(
    kind="wrapper",
    confidence="EXACT",
    state=StateSize(1, note="that of a momentum inside, else what ``inner`` has"),
    chain="inner -> scale_by_matrix_trust_ratio -> learning rate -> keep_norm",
    learning_rate=0.01,
    in_place=True,
    defaults={"inner": optax.sgd(1.0, momentum=0.9)},
)
def hyperball(
    learning_rate: optax.ScalarOrSchedule,
    inner: optax.GradientTransformation,
    *,
    radius: shapes.ShapeScale | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Take another optimizer's direction, step by a share of the weights, and keep their Frobenius norm.

    For hidden matrices, in place of weight decay. The rate is the angle by which a matrix turns, about, whatever its
    shape and size, and so carries over between widths and depths. `muon_h` is this around Muon.

    .. math::
        W' = W_{t-1} + \eta_t R \frac{U_t}{\|U_t\|_F}, \qquad W_t = R \frac{W'}{\|W'\|_F}, \qquad R = \|W_0\|_F

    Args:
        learning_rate: an angle in radians, about.
        inner: a whole optimizer, whose update U descends; its rate cancels and its weight decay should be 0.
        radius: R as a factor of the shape, for weights that start there; None: the norm that they have. See
            `transforms.keep_norm`.
        placement: that of ``inner`` is its own; taken so that optimizers can be exchanged.
        state_dtype: in which the step is computed; ``inner`` has its own.

    A matrix of zeros has no norm to keep and never moves: `init` raises, but not with a radius, nor under `jax.jit`,
    where values cannot be seen.

    Differs from NVIDIA's code: without a radius, R is measured at every step instead of being kept, so that there is no
    state; rounding may move it over very many steps of bfloat16 weights. A later paper, arXiv 2607.22444, finds cases
    in which it does not help.

    References:
        Wen et al., Hyperball, arXiv 2606.16899; github.com/NVIDIA-NeMo/Emerging-Optimizers.
    """
    del placement
    on = Stages(leaves, None, state_dtype)
    return optax.chain(
        inner,
        on.bind(transforms.scale_by_matrix_trust_ratio)(0.0, float("inf"), eps=0.0),
        # The inner update descends already.
        optax.scale_by_learning_rate(learning_rate, flip_sign=False),
        on.bind(transforms.keep_norm)(radius=radius),
    )
