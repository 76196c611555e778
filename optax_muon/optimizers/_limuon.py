"""LiMuon: Muon on STORM's momentum, stored whole or at low rank."""

from typing import Any

import jax
import optax

from optax_muon import shapes, transforms
from optax_muon._registry import card
from optax_muon.linalg import MatrixOp, SpectralMap, best
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement


@card(
    kind="matrix",
    paper="Huang, Luo, Chen, LiMuon, arXiv 2509.14562",
    confidence="EXACT",
    state="1; r (m + n + 1) / (m n) at rank r; 1 of the step for the previous parameters",
    chain="STORM momentum -> orthogonalize -> scale_by_shape -> decoupled decay -> learning rate",
    deviations="the step takes the momentum before it is compressed; momentum is 1 - the paper's beta",
    extra_args=("grads_at_previous_params",),
)
def limuon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    orthogonalizer: SpectralMap | MatrixOp | None = None,
    momentum: Any = 0.9,
    rank: int | None = None,
    weight_decay: Any = 0.0,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    seed: int | jax.Array = 0,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise a momentum corrected by a second gradient of the same batch.

    For hidden matrices. ``update`` takes ``grads_at_previous_params``: use `optax_muon.step_with_two_gradients`.

    .. math::
        M_t = G_t + \mu \left( M_{t-1} - \nabla f(W_{t-1}; \xi_t) \right), \quad M_1 = G_1, \qquad
        W_t = W_{t-1} - \eta_t \left( c(\text{shape}) \operatorname{orth}(M_t) + \lambda W_{t-1} \right)

    With ``rank`` the momentum is kept between updates as its randomised SVD.

    Args:
        learning_rate: eta.
        orthogonalizer: a map of `optax_muon.linalg`; default `best()`.
        momentum: the retained fraction mu, in [0, 1); the paper's beta is 1 - mu.
        rank: of the stored momentum; None: stored whole. The paper takes 8 and 16.
        weight_decay: decoupled, multiplied by the learning rate.
        shape_scale: c, an object of `optax_muon.shapes`.
        seed: of the sketches.
        leaves: a tree of `Leaf`, a callable that makes one from parameters, or None for names and ranks.
        placement: where the matrices are computed; None: on the spot.
        state_dtype: of the momentum where it is stored whole; None: the parameters' own.

    State: 1 float per parameter, or (m + n + 1) rank for an m x n matrix; the step keeps the previous parameters
    besides (1 more).

    Differs from the paper: nothing known; where its text leaves open which momentum is orthogonalised at low rank, it
    is the one before compression.

    References:
        arXiv 2509.14562, options 1 and 2, as restated by others; no code of the authors is known.
    """
    transforms.require_fraction("limuon: momentum", momentum)
    if rank is None:
        averaging = [
            transforms.correct_by_same_batch(momentum / (1 - momentum)),
            optax.ema(momentum, debias=False, accumulator_dtype=state_dtype),
        ]
    else:
        averaging = [transforms.low_rank_storm(momentum, rank, leaves=leaves, placement=placement, seed=seed)]
    return optax.chain(
        *averaging,
        transforms.apply_to_matrices(orthogonalizer or best(), leaves=leaves, placement=placement),
        transforms.scale_by_shape(shape_scale, leaves=leaves),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
