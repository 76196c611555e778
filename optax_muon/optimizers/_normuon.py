"""NorMuon."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Li et al., NorMuon, arXiv 2510.05491",
    confidence="EXACT",
    state="1, and 1 per output",
    chain="nesterov_ema -> orthogonalize -> normalize_neurons -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="the form of the authors' code; the default table is Polar Express, theirs is JORDAN_2024",
)
def normuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.95,
    nesterov: bool = True,
    second_moment: Any = 0.95,
    epsilon: float = 1e-10,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Jordan(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
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
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu, in [0, 1).
        nesterov: look one step ahead by interpolation.
        second_moment: the retained fraction beta of v, in [0, 1).
        epsilon: added to root mean squares and norms of an orthogonal factor.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are orthogonalised; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter and 1 per output.

    Differs from the authors' code for convolutions: it orthogonalises a 4-d kernel as one matrix, out by the rest, but
    measures v along a kernel's width and the norm over height and width, so that it evens out pieces of a neuron; here
    a neuron is an output with all its inputs, as for any other matrix, and so is the shape scale.

    Differs from the paper's text, whose last line is an RMS of 0.2 whatever the orthogonaliser;
    ``shape_scale=shapes.RMSMatch(0.2)`` gives that for an exact one.

    References:
        Li et al., NorMuon, arXiv 2510.05491; github.com/zichongli5/NorMuon.
    """
    transforms.require_fraction("normuon: momentum", momentum)
    return optax.chain(
        transforms.ema(momentum, nesterov=nesterov, accumulator_dtype=state_dtype),
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.normalize_neurons(second_moment, epsilon=epsilon, leaves=leaves),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
