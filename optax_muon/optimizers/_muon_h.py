"""MuonH."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_ema -> orthogonalize -> scale_by_matrix_trust_ratio -> learning rate -> keep_norm",
    learning_rate=0.01,
)
def muon_h(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    radius: shapes.ShapeScale | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Turn the weights along Muon's direction by a given angle, and keep their Frobenius norm.

    For hidden matrices, in place of weight decay and shape scale: the rate is an angle, and carries over between widths
    and depths. It is `hyperball` around Muon.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad O_t = \operatorname{orth}(\mu M_t + (1 - \mu) G_t) \\
        W' &= W_{t-1} - \eta_t R \frac{O_t}{\|O_t\|_F}, \qquad W_t = R \frac{W'}{\|W'\|_F}, \qquad R = \|W_0\|_F

    Args:
        learning_rate: an angle in radians, about.
        radius: R as a factor of the shape, for weights that start there; None: the norm that they have. See
            `transforms.keep_norm`.

    A matrix of zeros has no norm to keep and never moves: `init` raises, but not with a radius, nor under `jax.jit`,
    where values cannot be seen.

    Differs from NVIDIA's code: without a radius, R is measured at every step instead of being kept, so that there is no
    state. The default table is Polar Express.

    References:
        Wen et al., Hyperball, arXiv 2606.16899; github.com/NVIDIA-NeMo/Emerging-Optimizers.
    """
    transforms.require_fraction("muon_h: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.apply(orthogonalizer or best()),
        on.bind(transforms.scale_by_matrix_trust_ratio)(0.0, float("inf"), eps=0.0),
        optax.scale_by_learning_rate(learning_rate),
        on.bind(transforms.keep_norm)(radius=radius),
    )
