"""PolarGrad."""

from typing import Literal

import optax

from optax_muon import norms, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="ema -> scale_by_lmo -> decay -> learning rate",
    learning_rate=0.3,
)
def polargrad(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    power: Number = 1.0,
    order: Literal["momentum_first", "polar_first"] = "momentum_first",
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the momentum and step by its nuclear norm: steepest descent under the spectral norm.

    For hidden matrices. Unlike Muon's its steps shrink with the gradient, so a constant rate converges; it is not
    scale invariant, and the rate has the units of one over curvature.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad M_0 = 0 \\
        W_t &= (1 - \eta_t \lambda) W_{t-1} - \eta_t \langle M_t, \operatorname{orth}(M_t) \rangle^\alpha
        \operatorname{orth}(M_t)

    Args:
        learning_rate: eta; :math:`1 / L` for a loss of spectral smoothness L.
        orthogonalizer: a map of `optax_muon.linalg`; default that of `norms.Spectral`.
        power: alpha; 1 is PolarGrad, 0 Muon without look-ahead and shape scale.
        order: ``momentum_first`` as above. ``polar_first`` averages polar factors, :math:`M_t = \mu M_{t-1} + (1 - \mu)
            \operatorname{orth}(G_t)`, and multiplies by the present gradient's nuclear norm: a step of
            :math:`\langle G_t, \operatorname{orth}(G_t) \rangle^\alpha M_t`.

    Differs from the authors' code: their default oracle is QDWH, ours Newton-Schulz.

    References:
        Lau, Long, Su, PolarGrad: A Class of Matrix-Gradient Optimizers, arXiv 2505.21799,
        github.com/timlautk/polargrad; the power alpha: arXiv 2605.18106.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> params = {"up": {"kernel": jnp.diag(jnp.array([3.0, 1.0]))}}
        >>> tx = om.polargrad(0.1, orthogonalizer=om.linalg.SVDPolar(), momentum=0.0)
        >>> updates, state = tx.update(params, tx.init(params), params)
        >>> [round(float(x), 3) for x in updates["up"]["kernel"].diagonal()]
        [-0.4, -0.4]
    """
    transforms.require_fraction("polargrad: momentum", momentum)
    norm = norms.Spectral() if orthogonalizer is None else norms.Spectral(orthogonalizer)
    on = Stages(leaves, placement, state_dtype)
    radius = norms.DualPower(power)
    if order == "polar_first":
        steps = [on.bind(transforms.average_lmo)(norm, momentum, radius)]
    elif order == "momentum_first":
        steps = [on.ema(momentum), on.bind(transforms.scale_by_lmo)(norm, radius)]
    else:
        raise ValueError(f"polargrad: order must be 'momentum_first' or 'polar_first', not {order!r}")
    return optax.chain(
        *steps,
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
