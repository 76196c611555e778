"""NorMuon."""

from typing import Literal

import optax

from optax_muon import shapes, transforms
from optax_muon._options import Leaves, Placement, Stages, WeightDecay, decayed_weights
from optax_muon._registry import Form, StateSize, card
from optax_muon._types import DTypeLike, Number
from optax_muon.linalg import MatrixOp, SpectralMap, best


@card(
    kind="matrix",
    confidence="EXACT",
    state=StateSize(1, "outputs", forms=(Form("along the inputs", {"side": "reduction"}, StateSize(1, "inputs")),)),
    chain="nesterov_ema -> orthogonalize -> normalize_neurons -> scale_by_shape -> decay -> learning rate",
    renamed={"second_moment": "second_moment_decay", "epsilon": "eps"},
)
def normuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Number = 0.95,
    nesterov: bool = True,
    second_moment_decay: Number = 0.95,
    eps: float = 1e-10,
    side: Literal["output", "reduction"] = "output",
    weight_decay: WeightDecay = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the momentum, then let every neuron move at the same pace.

    For hidden matrices only. It differs from Muon where outputs outnumber inputs, or where the orthogonaliser is
    inexact: the exact polar factor of a matrix with at most as many outputs as inputs has unit outputs already.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad O_t = \operatorname{orth}(\mu M_t + (1 - \mu) G_t) \\
        v_t &= \beta v_{t-1} + (1 - \beta) \operatorname{mean}_{\text{in}} O_t^2, \qquad
        Y_t = O_t / (\sqrt{v_t} + \epsilon) \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \, Y_t \, \|O_t\|_F / (\|Y_t\|_F + \epsilon)
        + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an update in spectral norm, about, before the shape scale; 0.02 is the authors'.
        second_moment_decay: the decay rate beta of v, in [0, 1).
        eps: added to root mean squares and norms of an orthogonal factor.
        side: whose vectors are evened out; ``reduction`` takes the inputs', for matrices with more of these.

    Differs from the authors' code for convolutions: it orthogonalises a 4-d kernel as one matrix, out by the rest, but
    measures v along a kernel's width and the norm over height and width, so that it evens out pieces of a neuron; here
    a neuron is an output with all its inputs, as for any other matrix, and so is the shape scale. The default table is
    Polar Express, theirs is `linalg.JORDAN_2024`. The last line of the paper's text is an RMS of 0.2 whatever the
    orthogonaliser; ``shape_scale=shapes.RMSMatch(0.2)`` gives that for an exact one.

    References:
        Li et al., NorMuon, arXiv 2510.05491; github.com/zichongli5/NorMuon.
    """
    transforms.require_fraction("normuon: momentum", momentum)
    on = Stages(leaves, placement, state_dtype)
    return optax.chain(
        on.ema(momentum, nesterov=nesterov),
        on.apply(orthogonalizer or best()),
        on.bind(transforms.normalize_neurons)(second_moment_decay, eps=eps, side=side),
        on.scale_by_shape(shape_scale),
        decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
