"""Momentum that forgets only what a low-rank update has used."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import PyTree

from optax_muon._numbers import is_known, require_fraction
from optax_muon._renamed import renamed_arguments
from optax_muon.linalg import PowerStep, RankFraction
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift
from optax_muon.transforms._precision import promoted


class LowRankMomentumState(NamedTuple):
    """State of `low_rank_momentum`.

    Attributes:
        residual: momentum with what was used taken off, shaped like the parameters.
        subspace: of the lifted `PowerStep`.
    """

    residual: PyTree
    subspace: Any


@renamed_arguments(epsilon="eps")
def low_rank_momentum(
    decay: Any,
    rank: int | RankFraction,
    *,
    eps: float = 1e-8,
    power_steps: int = 1,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    accumulator_dtype: Any = None,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Emit a near-orthogonal matrix of low rank, and keep in the momentum what it left out: Dion's error feedback.

    Use it in place of momentum and orthogonaliser where the update is to be of low rank.

    .. math::
        B_t = M_{t-1} + G_t, \qquad (Y_t, L_t) = \text{one power step on } B_t, \qquad M_t = B_t - (1 - \mu) L_t

    Y is emitted; L, the part of B inside the followed subspace, is computed from its two thin factors.

    Args:
        decay: mu, the decay rate of what was used, in [0, 1].
        rank: of the update, reduced to a matrix's shorter side, or a `linalg.RankFraction` of it.
        eps: added to the column lengths of `linalg.PowerStep`, in units of the longest.
        power_steps: of power iteration an update.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the power steps run; None: `OverMesh()`, on the local device where there is no mesh.
        accumulator_dtype: of the momentum, and of Y where it is wider than the gradient's; None: the parameter's own.
        seed: of the first subspace.

    State: 1 float per parameter, and ``rank`` per input of every matrix.

    Raises:
        ValueError: for a decay outside [0, 1], a rank or power steps below 1.

    References:
        Ahn et al., Dion, arXiv 2504.05295, github.com/microsoft/dion.
    """
    # 1 is allowed here, unlike in an average: nothing is forgotten then.
    if not (is_known(decay) and decay == 1):
        require_fraction("low_rank_momentum: decay", decay)
    lift = Lift(PowerStep(rank, eps, seed, power_steps), leaves, placement)

    def init_fn(params):
        return LowRankMomentumState(optax.tree.zeros_like(params, dtype=accumulator_dtype), lift.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Take one power step on momentum plus gradient, and forget a share of what it used."""
        del params, extra_args
        updates = promoted(updates, updates, state.residual)
        whole = jax.tree.map(lambda m, g: m + g, state.residual, updates)
        direction, subspace, done = lift.apply(whole, state.subspace)
        residual = jax.tree.map(lambda b, seen: b - (1 - decay) * seen, whole, lift.used(whole, done))
        residual = optax.tree.cast_like(residual, state.residual)
        return optax.tree.cast_like(direction, updates), LowRankMomentumState(residual, subspace)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
