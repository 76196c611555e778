"""Dion3, also called NorDion2."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "outputs"),
    chain="sliced_momentum -> normalize_neurons -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.01,
    static=("fraction",),
)
def dion3(
    learning_rate: optax.ScalarOrSchedule,
    *,
    fraction: float = 0.25,
    momentum: Number = 0.95,
    second_moment_decay: Number = 0.95,
    eps: float = 1e-8,
    orthogonalizer: SpectralMap | None = None,
    weight_decay: WeightDecay = 0.01,
    shape_scale: shapes.ShapeScale = shapes.Spectral(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the heaviest outputs of the momentum, orthogonalised, each at its own pace.

    For hidden matrices only: `dion2` on outputs, with `normuon`'s second moment, which moves where an output is used.

    .. math::
        B_t &= M_{t-1} + G_t, \qquad S = \text{the } \lceil f m \rceil \text{ outputs of largest } \ell_1 \text{ norm},
        \qquad U_S = \operatorname{orth}(B_S), \qquad M_t = B_t, \text{ on } S \; \mu B_t \\
        v_S &\leftarrow \beta v_S + (1 - \beta) \operatorname{mean}_{\text{in}} U_S^2, \qquad
        Y_S = U_S / (\sqrt{v_S} + \epsilon) \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, Y \, \|U\|_F / (\|Y\|_F + \epsilon) + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an update in spectral norm, about, before the shape scale; 0.01 to 0.02.
        fraction: f, in (0, 1].
        momentum: the decay rate mu of the outputs that were used.
        second_moment_decay: the decay rate beta of v, in [0, 1).
        eps: added to root mean squares and norms of an orthogonal factor.

    Differs from the authors' code, in which every shard chooses its own outputs by default: here they are the heaviest
    of the whole matrix, their "global" scope.

    References:
        Dion2, arXiv 2512.16928; github.com/microsoft/dion, nordion2.py.
    """
    transforms.require_fraction("dion3: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.bind(transforms.sliced_momentum)(momentum, fraction, orthogonalizer or best(), side="output"),
        on.bind(transforms.normalize_neurons)(second_moment_decay, eps=eps, skip_zeros=True),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
