"""ZO-Muon."""

import optax

from optax_muon import linalg
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(0),
    chain="orthogonalize -> decay -> learning rate",
    learning_rate=1e-3,
)
def zo_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: linalg.SpectralMap | linalg.MatrixOp | None = None,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the orthogonalised estimate of a gradient, without any state.

    For hidden matrices only, with estimates of `zeroth_order.gradient`. The directions that few probes happened to see
    count as much as those in which the loss is steep.

    .. math::
        \hat G_t = \text{zeroth\_order.gradient}(f, W_{t-1}), \qquad
        W_t = W_{t-1} - \eta_t (\operatorname{orth}(\hat G_t) + \lambda W_{t-1})

    With ``zeroth_order.Subspace`` the estimate is P g, and its polar factor P orth(g), as in the paper.

    Args:
        learning_rate: the size of an update in spectral norm.
        state_dtype: unused, there being no state; taken so that optimizers can be exchanged.

    Differs from the paper in nothing that was seen, in a secondary transcription; the estimator is a function of the
    loss and stands apart.

    References:
        ZO-Muon, arXiv 2602.17155.
    """
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.apply(orthogonalizer or linalg.best()),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
