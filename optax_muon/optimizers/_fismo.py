"""FISMO."""

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import KroneckerWhitening, MatrixOp, Refresh, SpectralMap, best


@card(
    kind="matrix",
    confidence="PARTIAL",
    state=StateSize(1, "2 * (inputs**2 + outputs**2)", note="a side above ``max_side`` keeps none"),
    chain="in_kronecker_metric(heavy_ball -> orthogonalize) -> scale_by_shape -> decay -> learning rate",
    learning_rate=1e-3,
)
def fismo(
    learning_rate: optax.ScalarOrSchedule,
    *,
    second_moment_decay: Number = 0.95,
    refresh_every: int = 10,
    max_side: int = 10000,
    eps: float = 1e-4,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(0.2),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Average whitened gradients, orthogonalise the average, and whiten once more.

    For hidden matrices. The factors are those of `kl_shampoo`, fitted to the gradients' covariance together, and the
    rule inside is Muon.

    .. math::
        P &\leftarrow \beta P + \tfrac{1 - \beta}{n} G_t Q^{-1} G_t^T, \qquad
        Q \leftarrow \beta Q + \tfrac{1 - \beta}{m} G_t^T P^{-1} G_t, \qquad \hat P = m P / \operatorname{tr} P \\
        M_t &= \mu M_{t-1} + \hat P^{-1/2} G_t \hat Q^{-1/2}, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \hat P^{-1/2} \operatorname{orth}(M_t) \hat Q^{-1/2}
        + \lambda W_{t-1} \right)

    Args:
        learning_rate: an entry's step over 0.2 with `shapes.RMSMatch(0.2)`, about, as AdamW's.
        second_moment_decay: beta, of the factors.
        refresh_every: updates between one QR step of the bases through which inverses are taken.
        max_side: a longer side is left as it is, and keeps no factor.
        eps: eigenvalues count at least this fraction of the largest.
        momentum: the decay rate mu of the heavy ball, in [0, 1).
        nesterov: look one step ahead.
        state_dtype: of the momentum. Factors are float32 or wider.

    Differs from the port that was read: factors start from the first gradient's RMS times I, are brought to an even
    trace where they are used and not where they are kept, and small eigenvalues are raised instead of damped.

    References:
        FISMO, arXiv 2601.21750; github.com/MaeChd/muon-eq.
    """
    transforms.require_fraction("fismo: momentum", momentum)
    transforms.require_fraction("fismo: second_moment_decay", second_moment_decay)
    on = Stages(leaves, placement, state_dtype)
    whitening = KroneckerWhitening(second_moment_decay, Refresh(refresh_every), max_side, eps, even=True)
    inside = optax.chain(on.heavy_ball(momentum, nesterov=nesterov), on.apply(orthogonalizer or best()))
    return optax.chain(
        on.bind(transforms.in_kronecker_metric)(inside, whitening, graft=False),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
