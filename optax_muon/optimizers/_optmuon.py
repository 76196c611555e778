"""OptMuon: Muon that sets its own momentum and step size."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike
from optax_muon.linalg import SpectralMap, best
from optax_muon.linalg._nearest import OfSameNorm
from optax_muon.transforms._closed_loop import Form, Version


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "5", note="the step of form I keeps the previous parameters besides, 1 more"),
    chain="closed_loop_momentum -> OfSameNorm -> learning rate",
    learning_rate=1.0,
)
def optmuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | None = None,
    form: Form = "A",
    version: Version = 2,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon with momentum and step size from the gradients' own history.

    For hidden matrices. One number is tuned; neither smoothness nor noise need be known, and the rate adapts to their
    absence.

    .. math::
        W_{t+1} = W_t - \theta \gamma_t \|M_t\|_F \operatorname{orth}(M_t)

    with M and gamma of `transforms.closed_loop_momentum`.

    Args:
        learning_rate: theta; relative to the gradients' norms, which set the step.
        form: ``A``, or ``I`` with variance reduction: ``update`` then takes ``grads_at_previous_params`` (see
            `optax_muon.step_with_two_gradients`).
        version: of the paper, 1 or 2; they differ in an exponent and in a minimum.
        state_dtype: of M.

    Differs from the paper: whether the norms are of one matrix or of all is not stated there; here each matrix is on
    its own. The size of theta is not published.

    References:
        Ganzhao Yuan, OptMuon, arXiv 2606.08783, options A and I, in both versions as restated by others; no code of the
        author is known.
    """
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.bind(transforms.closed_loop_momentum)(form, version),
        on.apply(OfSameNorm(orthogonalizer or best())),
        optax.scale_by_learning_rate(learning_rate),
    )
