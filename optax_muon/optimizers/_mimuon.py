"""MiMuon."""

from typing import Any

import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import Gate, Gated, SpectralGap, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Huang et al., MiMuon, arXiv 2605.19619",
    confidence="PARTIAL",
    state="1",
    chain="ema -> orthogonalize where a gate opens -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="the gate is read in two ways by secondary sources; no default threshold was found, so none is given",
    defaults={"gate": SpectralGap(1e-4)},
    learning_rate=1.0,
)
def mimuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    gate: Gate,
    orthogonalizer: SpectralMap | None = None,
    momentum: Any = 0.95,
    nesterov: bool = False,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise the momentum where its singular values are well apart, and use it as it is elsewhere.

    For hidden matrices only. The polar factor is sensitive where singular values nearly coincide, which its paper ties
    to generalisation; a threshold of 0 is Muon, an infinite one is SGD.

    .. math::
        M_t &= \mu M_{t-1} + (1 - \mu) G_t, \qquad \kappa_t = \min_{i \ne j} |\sigma_i - \sigma_j| \\
        W_t &= W_{t-1} - \eta_t \left( c(\text{shape}) \begin{cases} \operatorname{orth}(M_t) & \kappa_t \ge \tau \\
        M_t & \text{else} \end{cases} + \lambda W_{t-1} \right)

    Args:
        learning_rate: the size of an orthogonalised update in spectral norm, before the shape scale.
        gate: ``linalg.SpectralGap(tau)`` as above, by a decomposition, or ``linalg.LargeEnough(tau)``, which compares
            the Frobenius norm instead.
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu, in [0, 1); the paper's beta is 1 - mu.
        nesterov: look one step ahead by interpolation.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum; None: the parameters' own.

    State: 1 float per parameter.

    Differs from the paper where its sources do: two of three gate on the gap, one on the norm; the threshold was not
    found.

    References:
        Huang et al., MiMuon, arXiv 2605.19619.
    """
    transforms.require_fraction("mimuon: momentum", momentum)
    return optax.chain(
        transforms.ema(momentum, nesterov=nesterov, accumulator_dtype=state_dtype),
        transforms.apply_to_matrices(Gated(gate, orthogonalizer or best()), leaves=leaves, placement=placement),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
