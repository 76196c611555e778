"""MuonMax, with Momo's model truncation."""

import functools

import optax

from optax_muon import norms, transforms
from optax_muon._numbers import require_finite_positive
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap
from optax_muon.matrices._partition import for_matrices
from optax_muon.shapes import Constant


@card(
    kind="roles",
    confidence="EXACT",
    state=StateSize(1, note="2 for other leaves"),
    chain="momo(first_gradient_ema | for_matrices(scale_by_total_dual | divide_by_gradient_rms)) -> decay -> "
    "learning rate",
    learning_rate=1e-3,
    defaults={"spectral_scale": 0.3},
    couples=True,
    renamed={"second_moment": "second_moment_decay"},
)
def muon_max(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    second_moment_decay: Number = 0.95,
    eps: float = 1e-8,
    spectral_scale: float = 1.0,
    lower_bound: Number | None = None,
    weight_decay: WeightDecay = 0.0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Descend steepest under the largest spectral norm of all hidden matrices, and by Adam's direction elsewhere.

    For the whole tree. Every matrix steps by the same spectral norm, the sum of all nuclear norms. With
    ``lower_bound`` steps are truncated where a model of the loss would fall below it, which widens the range of
    learning rates that work; ``update`` then takes ``value``, the loss.

    .. math::
        M_0 &= G_0, \quad V_0 = G_0^2, \qquad M_t = \mu M_{t-1} + (1 - \mu) G_t, \quad
        V_t = \beta V_{t-1} + (1 - \beta) G_t^2 \\
        U_i &= s^2 \textstyle\sum_k \langle M_k, \operatorname{orth}(M_k) \rangle \operatorname{orth}(M_i)
        \quad \text{(hidden)}, \qquad U_j = M_j / (\sqrt{V_j} + \varepsilon) \quad \text{(others)} \\
        W_t &= (1 - \eta_t \lambda) W_{t-1} - \eta_t \min\left(1,
        \frac{(\ell_t + \langle W, M \rangle - f_*)_+}{\eta_t \langle M, U \rangle}\right) U

    Args:
        learning_rate: eta; Adam's rates suit the others, and ``spectral_scale`` brings the matrices to them.
        orthogonalizer: a map of `optax_muon.linalg`; default that of `norms.Spectral`.
        second_moment_decay: the decay rate beta of squared gradients.
        eps: added to the root of the second moment.
        spectral_scale: s; the matrices' norm is the spectral one over s.
        lower_bound: f_*, below which the loss cannot go (the authors: 3.2 for their language models); None: never
            truncate.
        weight_decay: lambda, decoupled, multiplied by the untruncated learning rate.
        state_dtype: of both averages.

    Differs from the authors' code: a model that is already below the bound stops the step instead of reversing it;
    no stale nuclear norms and no Frobenius stand-in for them.

    References:
        Crawshaw et al., An Exploration of Non-Euclidean Gradient Descent: Muon and its Many Variants, arXiv 2510.09827.
    """
    transforms.require_fraction("muon_max: momentum", momentum)
    require_finite_positive("muon_max", spectral_scale=spectral_scale)
    spectral = norms.Spectral() if orthogonalizer is None else norms.Spectral(orthogonalizer)
    matrices = functools.partial(
        transforms.scale_by_total_dual, norms.Scaled(spectral, Constant(spectral_scale)), placement=placement
    )
    on = Stages(leaves, placement, state_dtype)
    others = on.bind(transforms.divide_by_gradient_rms)(second_moment_decay, eps=eps)
    return optax.chain(
        transforms.momo(
            on.first_gradient_ema(momentum),
            for_matrices(matrices, others, leaves=leaves),
            learning_rate,
            decay=momentum,
            lower_bound=lower_bound,
            leaves=leaves,
        ),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
