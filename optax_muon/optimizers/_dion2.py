"""Dion2."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="sliced_momentum -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.01,
    static=("fraction",),
)
def dion2(
    learning_rate: optax.ScalarOrSchedule,
    *,
    fraction: float = 0.25,
    momentum: Number = 0.95,
    orthogonalizer: SpectralMap | None = None,
    weight_decay: WeightDecay = 0.01,
    shape_scale: shapes.ShapeScale = shapes.Spectral(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the heaviest slices of the momentum alone, and keep the others for later.

    For hidden matrices only, where orthogonalising whole ones costs too much. Slices are one for each index of the
    shorter side; only those that were used are forgotten, so every slice has its turn.

    .. math::
        B_t &= M_{t-1} + G_t, \qquad S = \text{the } \lceil f m \rceil \text{ slices of largest } \ell_1 \text{ norm},
        \qquad U_S = \operatorname{orth}(B_S) \\
        M_t &= B_t, \text{ on } S \; \mu B_t, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \, U + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale; 0.01 to 0.02.
        fraction: f, in (0, 1]; with 1 it is Muon on the heavy ball of ``momentum``.
        momentum: the decay rate mu of the slices that were used.

    The paper's claim, as good as Muon at a fraction of its work, is one of language models: on small quadratics stale
    slices were seen to hurt.

    Differs from the authors' code, in which every shard chooses its own slices by default: here they are the heaviest
    of the whole matrix, their "global" scope, and the result does not depend on the sharding.

    References:
        Dion2, arXiv 2512.16928; github.com/microsoft/dion.
    """
    transforms.require_fraction("dion2: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.bind(transforms.sliced_momentum)(momentum, fraction, orthogonalizer or best()),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
