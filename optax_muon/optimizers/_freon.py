"""Freon."""

import optax

from optax_muon import shapes
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import Freon
from optax_muon.optimizers._muon import muon


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(1),
    chain="ema -> Freon -> scale_by_shape -> decay -> learning rate",
)
def freon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    c: Number = 2 / 3,
    momentum: Number = 0.95,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Raise the momentum's singular values to the power 1 - 2c, free of scale.

    For hidden matrices only. c = 0 is normalised gradient descent, 1/2 Muon; beyond it the spectrum is inverted and
    small directions get the longer steps.

    .. math::
        M_t = \mu M_{t-1} + (1 - \mu) G_t, \qquad W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \, U
        \operatorname{diag}\big( (s_i / M_q(s))^{1 - 2c} \big) V^T + \lambda W_{t-1} \right), \qquad q = 2 - 2c

    Args:
        learning_rate: the size of an update in spectral norm at c = 1/2, before the shape scale.
        c: any finite number; 2/3 is a third party's default, the paper's best was not seen.

    Differs from the paper where it was not seen: the scale by the mean of order q instead of the sum, the defaults,
    and an exact decomposition instead of the rational iteration. The paper's heavy ball gives the same updates, the
    map being free of scale.

    References:
        Shumaylov et al., Muon is Not That Special, arXiv 2605.11181.
    """
    return muon(
        learning_rate,
        orthogonalizer=Freon(c),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        leaves=leaves,
        placement=placement,
        state_dtype=state_dtype,
    )
