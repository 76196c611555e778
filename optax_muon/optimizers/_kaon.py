"""Kaon."""

import optax

from optax_muon import shapes
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import Kaon
from optax_muon.optimizers._muon import muon


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(1),
    chain="ema -> Kaon -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.036,
)
def kaon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    steps: int = 5,
    momentum: Number = 0.95,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Scatter the momentum's singular values at random, as a control of what Muon's spectrum is worth.

    For hidden matrices only. Its paper finds it as good as Muon, at about 1.8 times the learning rate.

    .. math::
        M_t = \mu M_{t-1} + (1 - \mu) G_t, \qquad X \leftarrow 4.1 (I - X X^T)^2 X \;\; (T \text{ times, from }
        M_t / \|M_t\|_F), \qquad W_t = W_{t-1} - \eta_t \left( c(\text{shape}) X / 1.175 + \lambda W_{t-1} \right)

    Args:
        learning_rate: about twice the size of an update in root mean square singular value.
        steps: T.

    A matrix of rank one, such as any with a side of 1, has the one normalised singular value 1, which the map sends to
    zero at once: it does not move, but for rounding. Give such leaves to another optimizer.

    Differs from the paper in nothing that was seen; its heavy ball gives the same updates, the map being free of
    scale. The map is certain, three sources agree; the defaults are third parties'.

    References:
        Shumaylov et al., Muon is Not That Special, arXiv 2605.11181.
    """
    return muon(
        learning_rate,
        orthogonalizer=Kaon(steps),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        leaves=leaves,
        placement=placement,
        state_dtype=state_dtype,
    )
