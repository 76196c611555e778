"""OptMuon: Muon that sets its own momentum and step size."""

from typing import Any

import optax

from optax_muon import transforms
from optax_muon._registry import card
from optax_muon.linalg import SpectralMap, best
from optax_muon.linalg._nearest import OfSameNorm
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._closed_loop import Form, Version


@card(
    kind="matrix",
    paper="Ganzhao Yuan, OptMuon, arXiv 2606.08783",
    confidence="EXACT",
    state="1, and 5 per matrix",
    chain="closed_loop_momentum -> orthogonalize, at the same norm -> learning rate",
    deviations="every matrix is a loop of its own (the paper does not say); theta's size is not published",
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
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run Muon with momentum and step size from the gradients' own history.

    For hidden matrices. One number is tuned; neither smoothness nor noise need be known, and the rate adapts to their
    absence.

    .. math::
        W_{t+1} = W_t - \theta \gamma_t \|M_t\|_F \operatorname{orth}(M_t)

    with M and gamma of `transforms.closed_loop_momentum`.

    Args:
        learning_rate: theta; relative to the gradients' norms, which set the step.
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        form: ``A``, or ``I`` with variance reduction: ``update`` then takes ``grads_at_previous_params`` (see
            `optax_muon.step_with_two_gradients`).
        version: of the paper, 1 or 2; they differ in an exponent and in a minimum.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of M; None: the parameters' own.

    State: 1 float per parameter and 5 per matrix; form I's step keeps the previous parameters besides (1 more).

    Differs from the paper: whether the norms are of one matrix or of all is not stated there; here each matrix is on
    its own.

    References:
        arXiv 2606.08783, options A and I, in both versions as restated by others; no code of the author is known.
    """
    return optax.chain(
        transforms.closed_loop_momentum(form, version, leaves=leaves, accumulator_dtype=state_dtype),
        transforms.apply_to_matrices(OfSameNorm(orthogonalizer or best()), leaves=leaves, placement=placement),
        optax.scale_by_learning_rate(learning_rate),
    )
