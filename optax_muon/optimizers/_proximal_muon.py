"""Proximal Muon."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SoftSign, SpectralClip, SpectralMap


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(1),
    chain="ema -> SoftSign -> scale_by_shape -> learning rate -> project_weights",
    learning_rate=0.02,
)
def proximal_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    radius: Number = 1.0,
    eps: Number = 1e-3,
    kappa: float = 4.0,
    momentum: Number = 0.95,
    cap: SpectralMap | None = None,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the softened direction, then clip the singular values of the weights.

    For hidden matrices that shall stay in a spectral ball. The bend lets a constant rate converge, where that of Muon
    goes back and forth over the minimum: with curvature a it does for :math:`\eta a \le 2 \varepsilon`.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t = U S V^T, \qquad
        H_t = U \frac{S}{(\varepsilon^\kappa + S^\kappa)^{1 / \kappa}} V^T \\
        W_t &= \operatorname{clip}_R (W_{t-1} - \eta_t c(\text{shape}) H_t), \qquad R = r \, c(\text{shape})

    Args:
        learning_rate: the largest step of a singular direction, before the shape scale.
        radius: r, of the ball; infinity does not clip.
        eps: the bend, in units of the gradient.
        kappa: its sharpness; 2 is `soft_muon`.
        cap: another map that clips the weights, such as `linalg.SpectralClip` by products; None decomposes.
        shape_scale: c, of the steps and the ball.

    Clipping is the proximal step of the ball for every kappa: it brings each singular value to the nearest allowed
    one, and no other point is nearer in any norm that singular values alone decide.

    Differs from the paper in what its abstract leaves open: the form of the proximal step is derived by us, and STORM
    in place of the average is not offered.

    References:
        Oikonomidis et al., arXiv 2605.11850.
    """
    transforms.require_fraction("proximal_muon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum),
        on.apply(SoftSign(eps, kappa)),
        on.scale_by_shape(shape_scale),
        optax.scale_by_learning_rate(learning_rate),
        on.bind(transforms.project_weights)(cap or SpectralClip(radius), shape_scale=shape_scale),
    )
