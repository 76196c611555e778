"""Momentum that forgets only the slices that an update has used."""

from typing import Any, Literal, NamedTuple

import jax
import optax
from jaxtyping import PyTree

from optax_muon._numbers import require_share
from optax_muon.linalg import HeaviestSlices, SpectralMap
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift
from optax_muon.transforms._precision import promoted


class SlicedMomentumState(NamedTuple):
    """State of `sliced_momentum`.

    Attributes:
        residual: momentum, its used slices shortened, shaped like the parameters.
        slices: of the lifted `HeaviestSlices`.
    """

    residual: PyTree
    slices: Any


def sliced_momentum(
    decay: Any,
    fraction: float,
    orthogonalizer: SpectralMap,
    *,
    side: Literal["shorter", "output"] = "shorter",
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    accumulator_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Emit the heaviest slices of the momentum, orthogonalised, and shorten only these: Dion2's error feedback.

    Use it in place of momentum and orthogonaliser where a fraction of the orthogonaliser's work has to do.

    .. math::
        B_t = M_{t-1} + G_t, \qquad S = \text{the slices of largest } \ell_1 \text{ norm of } B_t, \qquad
        U_S = \operatorname{orth}(B_S), \qquad M_S = \mu B_S, \quad M = B \text{ elsewhere}

    Args:
        decay: mu, of the slices that were used, in [0, 1].
        fraction: of the slices, in (0, 1]; with 1 it is the heavy ball of ``decay`` and the orthogonaliser.
        orthogonalizer: a map of `optax_muon.linalg`.
        side: slices are one for each index of the shorter side, or of the output side.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.
        accumulator_dtype: of the momentum, and of U where it is wider than the gradient's; None: the parameter's own.

    State: 1 float per parameter.

    Raises:
        ValueError: for a decay outside [0, 1] or a fraction outside (0, 1].

    References:
        Dion2, arXiv 2512.16928, github.com/microsoft/dion.
    """
    require_share("sliced_momentum: decay", decay)
    lift = Lift(HeaviestSlices(orthogonalizer, fraction, side), leaves, placement)

    def init_fn(params):
        return SlicedMomentumState(optax.tree.zeros_like(params, dtype=accumulator_dtype), lift.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Take the heaviest slices of momentum plus gradient, and shorten them."""
        del params, extra_args
        updates = promoted(updates, updates, state.residual)
        whole = jax.tree.map(lambda m, g: m + g, state.residual, updates)
        direction, slices, done = lift.apply(whole, state.slices)
        residual = jax.tree.map(lambda b, used: b - (1 - decay) * used, whole, lift.used(whole, done))
        residual = optax.tree.cast_like(residual, state.residual)
        return optax.tree.cast_like(direction, updates), SlicedMomentumState(residual, slices)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
