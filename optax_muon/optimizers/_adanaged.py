"""AdaNAGED."""

import optax

from optax_muon import norms, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike
from optax_muon.linalg import SpectralMap


@card(
    kind="matrix",
    confidence="OUR READING",
    state=StateSize(2),
    chain="parameter_free -> decay -> learning rate",
    learning_rate=1.0,
    couples=True,
)
def adanaged(
    learning_rate: optax.ScalarOrSchedule = 1.0,
    *,
    orthogonalizer: SpectralMap | None = None,
    first_step: float = 1e-3,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise estimates of gradients, by steps whose length needs no constant of the problem.

    For hidden matrices only, with estimates of `zeroth_order.gradient`, or with gradients. All matrices step by one
    length.

    .. math::
        W_t = W_{t-1} - r_t (\eta_t \operatorname{orth}(\hat G_t) + \lambda W_{t-1}), \qquad
        \eta_t = \sqrt{d_t / c_t} \quad \text{of `parameter_free`}

    Args:
        learning_rate: r, one for the rule itself; a constant r runs it in the coordinates W / r.
        first_step: of eta, in spectral norm.

    Differs from the paper, of which the abstract was found: the length is that of the authors' earlier sign method,
    written for another norm; the smoothing radius is the caller's.

    References:
        Bystrov et al., Zero-order Parameter-free Optimization for LMO-based Methods, arXiv 2606.14970; the length:
        arXiv 2506.03725.
    """
    spectral = norms.Spectral() if orthogonalizer is None else norms.Spectral(orthogonalizer)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.bind(transforms.parameter_free)(spectral, first_step),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
