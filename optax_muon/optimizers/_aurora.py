"""Aurora."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import Balanced, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_ema -> Balanced -> scale_by_shape -> decay -> learning rate",
    learning_rate=0.05,
)
def aurora(
    learning_rate: optax.ScalarOrSchedule,
    *,
    iterations: int = 2,
    power: Number = 0.5,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.025,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the momentum with its vectors weighed so that all neurons move about equally far.

    For hidden matrices only. In an orthogonal matrix that is not square some neurons hardly move; with `normuon` they
    do, but the step is orthogonal no longer. Here it is both, at the price of one orthogonaliser more. Square matrices
    are those of Muon.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad N_t = \mu M_t + (1 - \mu) G_t, \qquad d_i = 1 / \|N_i\| \\
        U &= \operatorname{orth}(\operatorname{diag}(d) N_t), \qquad
        d_i \leftarrow d_i \left( \frac{n / m}{\|U_i\|^2} \right)^p \quad (K - 1 \text{ times}) \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, U + \lambda W_{t-1} \right), \quad
        \text{rows } i \text{ along the longer side } m

    Args:
        learning_rate: the size of an update in spectral norm, before the shape scale; 0.05 is the authors'.
        iterations: K; 1 is `muoneq` on the longer side.
        power: p.

    Differs from the authors' code in the default table, Polar Express instead of 12 steps of the simple quintic.

    References:
        Tilde Research, Aurora (2026); github.com/tilde-research/aurora-release.
    """
    transforms.require_fraction("aurora: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.apply(Balanced(orthogonalizer or best(), iterations, power)),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
