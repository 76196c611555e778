"""Manifold Muon."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import Constrained, SpectralMap, Stiefel
from optax_muon.linalg.constrained._stiefel import nearest_orthonormal


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="ema -> Constrained -> learning rate -> project_weights",
    learning_rate=0.1,
)
def manifold_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    momentum: Number = 0.0,
    dual_steps: int = 20,
    dual_rate: Number = 0.5,
    warm_start: bool = False,
    orthogonalizer: SpectralMap | None = None,
    projection: SpectralMap | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Turn weights that stay orthonormal, by the steepest direction of the spectral ball that is tangent to them.

    For hidden matrices all of whose singular values should stay one: every layer keeps lengths, and the network its
    Lipschitz constant. There is no weight decay and no shape scale; the rate is an angle.

    .. math::
        D_t &= \arg\max \, \langle M_t, D \rangle \quad \text{over} \quad \|D\|_2 \le 1, \;
        W^T D + D^T W = 0 \\
        W_t &= \operatorname{orth}(W_{t-1} - \eta_t D_t)

    for matrices as long as wide or longer; wide ones have orthonormal rows.

    Args:
        learning_rate: an angle in radians, about.
        momentum: the decay rate mu of an average of gradients in front, in [0, 1); 0 as in the paper.
        dual_steps: orthogonalisations that the direction costs, beside one more.
        dual_rate: of the first of them, falling linearly; in units of the gradient, see `linalg.Constrained`.
        warm_start: keep the multipliers, min(m, n)^2 floats a matrix, and start from them.
        orthogonalizer: of the dual steps; None: the ten steps of Polar Express, see `linalg.Constrained`.
        projection: the orth that brings the weights back; None: those ten steps in float32 on every platform.

    Weights that start elsewhere are brought to the manifold by the first update, whose direction is then not tangent:
    initialise by ``jax.nn.initializers.orthogonal()``, or let the first rate be zero.

    Differs from the authors' code: the dual rate is relative to the gradient, where theirs, 0.01, leaves a large
    gradient far from the constraint after its hundred steps, and no step ends early. Momentum and warm start are ours.

    References:
        Bernstein, Modular Manifolds, Thinking Machines (2025); github.com/thinking-machines-lab/manifolds.
    """
    transforms.require_fraction("manifold_muon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    direction = Constrained(Stiefel(), orthogonalizer, dual_steps, dual_rate, warm_start=warm_start)
    return optax.chain(
        on.ema(momentum),
        on.bind(transforms.apply_with_weights)(direction),
        optax.scale_by_learning_rate(learning_rate),
        on.bind(transforms.project_weights)(projection or nearest_orthonormal()),
    )
