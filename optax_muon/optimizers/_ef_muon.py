"""Muon with error feedback."""

import optax

from optax_muon import transforms
from optax_muon._options import Leaves, Placement, Stages
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import SpectralMap, best
from optax_muon.linalg._nearest import NearestMultiple


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(2),
    chain="ema -> learning rate -> error_feedback(NearestMultiple) -> scale",
    learning_rate=0.3,
)
def ef_muon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | None = None,
    momentum: Number = 0.95,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step along the polar factor, fitted in length, and carry on what it leaves out.

    For hidden matrices. Muon itself need not converge on nonsmooth convex problems; this does, at the price of losing
    Muon's scale freedom: the step has the gradient's own size. The paper finds it worse than Muon for deep networks.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad P_t = \eta_t M_t + E_t \\
        \Delta_t &= \frac{\|P_t\|_*}{\operatorname{rank} P_t} \operatorname{orth}(P_t), \qquad
        W_t = W_{t-1} - \Delta_t, \qquad E_{t+1} = P_t - \Delta_t

    Args:
        learning_rate: eta, of gradient descent and not of Muon; it acts before the compressor. The paper's toys take
            ``lambda count: (count + 1) ** -0.5``.
        state_dtype: of the momentum and the error.

    Differs from the authors' notebooks: the length is fitted to the factor that was computed, which for an exact polar
    factor is their nuclear norm over rank and for an inexact one keeps the compressor a contraction. There is one
    block per matrix: the multi-layer EF-MuonMax of the paper's networks is not this.

    References:
        Parshakova et al., Muon Does Not Converge on Convex Lipschitz Functions, arXiv 2605.08980, EF-Muon.
    """
    transforms.require_fraction("ef_muon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum),
        optax.scale_by_learning_rate(learning_rate, flip_sign=False),
        on.bind(transforms.error_feedback)(on.apply(NearestMultiple(orthogonalizer or best()))),
        optax.scale(-1.0),
    )
