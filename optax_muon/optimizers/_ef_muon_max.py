"""Muon with error feedback under one norm of all matrices."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, best


@card(
    kind="matrix",
    confidence="OUR READING",
    state=StateSize(2),
    chain="ema -> learning rate -> error_feedback(nearest_common_multiple(orthogonalize)) -> scale",
    learning_rate=0.3,
    couples=True,
)
def ef_muon_max(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the polar factors of all matrices, fitted in length by one number, and carry on what they leave out.

    For hidden matrices. `ef_muon` for networks: the norm is the largest spectral norm of all matrices, as in
    `muon_max`, so that every matrix moves as far as any other. Its authors find it worse than Muon.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad P_i = \eta_t M_i + E_i \\
        \Delta_i &= \frac{\sum_k \|P_k\|_*}{\sum_k \operatorname{rank} P_k} \operatorname{orth}(P_i), \qquad
        W_i \leftarrow W_i - \Delta_i, \qquad E_i \leftarrow P_i - \Delta_i

    Args:
        learning_rate: eta, of gradient descent and not of Muon; it acts before the compressor.
        state_dtype: of the momentum and the error.

    Differs from the paper, of which the rule for many matrices was not seen: the length is fitted to the factors that
    were computed, over the whole tree, which keeps the compressor a contraction; other leaves are not part of the norm.

    References:
        Parshakova et al., Muon Does Not Converge on Convex Lipschitz Functions, arXiv 2605.08980, EF-MuonMax.
    """
    transforms.require_fraction("ef_muon_max: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    fitted = on.bind(transforms.nearest_common_multiple)(on.apply(orthogonalizer or best()))
    return optax.chain(
        on.ema(momentum),
        optax.scale_by_learning_rate(learning_rate, flip_sign=False),
        on.bind(transforms.error_feedback)(fitted),
        optax.scale(-1.0),
    )
