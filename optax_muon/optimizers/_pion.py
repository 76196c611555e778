"""Pion, the high-pass filter."""

import optax

from optax_muon import shapes
from optax_muon._options import Leaves, Placement, WeightDecay
from optax_muon._registry import StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import HighPass
from optax_muon.optimizers._muon import muon


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1),
    chain="nesterov_ema -> HighPass -> scale_by_shape -> decay -> learning rate",
    learning_rate=2e-3,
)
def pion(
    learning_rate: optax.ScalarOrSchedule,
    *,
    promotions: int = 3,
    steps: int = 5,
    momentum: Number = 0.95,
    nesterov: bool = True,
    weight_decay: WeightDecay = 0.01,
    shape_scale: shapes.ShapeScale = shapes.RMSMatch(2.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Keep the large singular directions of the momentum at unit size and filter the small ones out.

    For hidden matrices only, where small directions are noise: fine-tuning of an action head, reinforcement learning.
    Filtered head by head where heads are batch axes: ``om.Leaf("hidden", 0, 2)`` for a kernel (d, heads, width), and a
    split for heads side by side.

    .. math::
        N_t &= \text{EMA with Nesterov} \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, f_s^{k - k_p}(f_p^{k_p}(N_t / \|N_t\|_F))
        + \lambda W_{t-1} \right)

    with :math:`f_p(s) = \tfrac{15}{8} s - \tfrac54 s^3 + \tfrac38 s^5` and
    :math:`f_s(s) = \tfrac52 s^3 - \tfrac32 s^5` on singular values: above a cut-off they tend to 1, below it to 0.

    Args:
        learning_rate: about half an entry's step; the authors use 0.02, and 1e-5 to 1e-4 in fine-tuning.
        promotions: k_p. Cut-offs for 0 to 4, relative to the Frobenius norm: 0.816, 0.523, 0.296, 0.160, 0.086.
        steps: k; with ``promotions == steps`` nothing is suppressed, and many of them are Muon.

    Differs from the authors' code: 3 promotions by default instead of 0, which filters away every matrix with a stable
    rank above 1.5; the norm has no epsilon; another "Pion" (arXiv 2605.12492) is a different method.

    References:
        Fan et al., Pion: sPectral hIgh-pass Optimization on momeNtum, arXiv 2605.19282; github.com/OPTML-Group/Pion.
    """
    return muon(
        learning_rate,
        orthogonalizer=HighPass(promotions, steps),
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        shape_scale=shape_scale,
        leaves=leaves,
        placement=placement,
        state_dtype=state_dtype,
    )
