"""MuAdam and MuAdam-SANIA."""

from typing import Any, Literal

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Veprikov et al., Preconditioned Norms, arXiv 2510.10777",
    confidence="PARTIAL",
    state="2",
    chain="ema -> in_diagonal_metric(orthogonalize) -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="the rule is the authors' lab's code of a later paper; SANIA's optional factor is left out",
)
def muadam(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.9,
    second_moment: Any = 0.95,
    epsilon: float = 1e-8,
    form: Literal["adam", "sania"] = "adam",
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise in coordinates that Adam's second moment has rescaled.

    For hidden matrices; Muon in an entrywise preconditioned spectral norm. The published evidence is weak: competitive,
    and best in 2 of 8 fine-tuning tasks.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad V_t = \beta V_{t-1} + (1 - \beta) G_t^2, \qquad
        s = (\sqrt{\hat V_t} + \varepsilon)^{1/2} \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(M_t / s) / s + \lambda W_{t-1} \right)

    Args:
        learning_rate: its size depends on the gradient's: an update grows as gradients shrink, by their square root
            (adam) or in proportion (sania).
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu, in [0, 1).
        second_moment: beta, in [0, 1).
        epsilon: keeps the scale s positive. Entries whose gradient is almost always zero, those of dark pixels, take
            huge steps under the default, which is the authors'; 1e-4 was seen to stop that.
        form: ``adam``, or ``sania`` with :math:`s = (\hat V + \varepsilon)^{1/2}`, which makes the training
            indifferent to how single entries of the parameters are scaled.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of both averages; None: the parameters' own.

    State: 2 floats per parameter.

    Differs from the paper: PARTIAL. The norm and its oracle are the paper's; constants and the split of the scale are
    those of the same lab's published code. SANIA's further factor :math:`1 - \sqrt{1 - \hat V}` is not offered.

    References:
        arXiv 2510.10777, definitions 2.1 and 2.2; github.com/brain-lab-research/lion-muon.
    """
    transforms.require_fraction("muadam: momentum", momentum)
    orthogonalized = transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement)
    average = optax.ema(momentum, debias=False, accumulator_dtype=state_dtype)
    metric = transforms.in_diagonal_metric(
        orthogonalized, second_moment, epsilon=epsilon, form=form, accumulator_dtype=state_dtype
    )
    return optax.chain(
        transforms.with_gradients(optax.chain(average, metric)),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
