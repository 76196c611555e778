"""SSO: the spectral sphere optimizer."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import Constrained, OnSphere, SpectralMap, Sphere


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_ema -> Constrained -> scale_by_shape -> scale -> learning rate -> project_weights",
    learning_rate=0.02,
)
def sso(
    learning_rate: optax.ScalarOrSchedule,
    *,
    radius: Number = 2.0,
    rounds: int = 20,
    power_steps: int | None = 20,
    warm_start: bool = False,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.9,
    nesterov: bool = True,
    shape_scale: shapes.ShapeScale = shapes.Spectral(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the sphere of the spectral norm, on which all weights are.

    For hidden matrices, in place of weight decay: every layer keeps its spectral norm, and the network a Lipschitz
    constant that is known before training. A step leaves the sphere by the square of the rate.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad N_t = \mu M_t + (1 - \mu) G_t, \qquad R = r \, c(\text{shape}) \\
        D_t &= \arg\max \, \langle N_t, D \rangle \quad \text{over} \quad \|D\|_2 \le 1, \;
        \langle u v^T, D \rangle = 0, \qquad W_{t-1} = \sigma_1 u v^T + \dots \\
        W' &= W_{t-1} - \eta_t R D_t, \qquad W_t = R \, W' / \|W'\|_2

    Args:
        learning_rate: the size of an update over that of the weights, in spectral norm.
        radius: r; the authors find 2 best.
        rounds: of bisection, an orthogonalisation each, beside three more; 0 is their ablation MuonSphere, a plain
            direction.
        power_steps: of the power iterations that find u, v and the norm; None decomposes.
        warm_start: keep v, a float per output, and start from it; two power steps then do.
        orthogonalizer: of the rounds; None: the ten steps of Polar Express, see `linalg.Constrained`.

    Weights that start elsewhere are brought to the sphere by the first update.

    Differs from the authors' code, which scales the weights to the sphere before a step and so leaves them off it by
    the square of the rate after it; the path is the same. Where the residual jumps the direction is a mixture, see
    `linalg.Constrained`.

    References:
        Spectral Sphere Optimizer, arXiv 2601.08393; github.com/Unakar/Spectral-Sphere-Optimizer.
    """
    transforms.require_fraction("sso: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    direction = Constrained(Sphere(power_steps), orthogonalizer, rounds, warm_start=warm_start)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.bind(transforms.apply_with_weights)(direction),
        on.scale_by_shape(shape_scale),
        optax.scale(radius),
        optax.scale_by_learning_rate(learning_rate),
        on.bind(transforms.project_weights)(OnSphere(radius, power_steps), shape_scale=shape_scale),
    )
