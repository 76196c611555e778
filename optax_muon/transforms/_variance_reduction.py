"""Variance reduction: the gradient corrected by a gradient at the previous parameters, before it is averaged."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_fraction
from optax_muon._renamed import renamed_arguments
from optax_muon.linalg.subspace._low_rank_storm import LowRankStorm
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift
from optax_muon.transforms._precision import promoted


class LastGradientState(NamedTuple):
    """State of `correct_by_last_gradient`: the last gradient, shaped like the parameters."""

    last: PyTree


def correct_by_last_gradient(weight: Any, *, accumulator_dtype: Any = None) -> optax.GradientTransformation:
    r"""Extrapolate along the change of the gradient since the last step, each from its own batch (MVR1, MARS).

    Use it before an average; it costs no second gradient.

    .. math::
        C_t = G_t + w (G_t - G_{t-1}), \qquad G_0 = 0

    Before an average with decay beta, :math:`w = \gamma \beta / (1 - \beta)` makes it variance reduction of strength
    gamma; the pair then equals `extrapolated_ema`, which needs one buffer, unless something stands between them.

    Args:
        weight: w, a number that may be injected or traced.
        accumulator_dtype: of the stored gradient; None: the parameter's own.

    State: 1 float per parameter.

    References:
        Chang, Liu, Yuan, arXiv 2509.15816 (MVR1); MARS-M, arXiv 2510.21800.
    """

    def init_fn(params):
        return LastGradientState(optax.tree.zeros_like(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        """Correct by the last gradient, and keep this one."""
        del params
        updates = promoted(updates, updates, state.last)
        corrected = jax.tree.map(lambda g, last: _corrected(g, last, weight), updates, state.last)
        return corrected, LastGradientState(optax.tree.cast_like(updates, state.last))

    return optax.GradientTransformation(init_fn, update_fn)


class SameBatchState(NamedTuple):
    """State of `correct_by_same_batch`: updates so far, int32 scalar."""

    count: ArrayLike


def correct_by_same_batch(weight: Any) -> optax.GradientTransformationExtraArgs:
    r"""Extrapolate along the change of this batch's gradient since the previous parameters (MVR2, STORM).

    Use it before an average where a second gradient a step can be paid for. Its ``update`` takes the extra argument
    ``grads_at_previous_params``, the gradient of the same batch at the parameters of one step ago;
    `optax_muon.step_with_two_gradients` computes it.

    .. math::
        C_t = G_t + w \left(\nabla f(W_t; \xi_t) - \nabla f(W_{t-1}; \xi_t)\right), \qquad C_1 = (1 + w) G_1

    Args:
        weight: w; :math:`\gamma \beta / (1 - \beta)` before an average with decay beta; gamma = 1 is STORM.

    State: none but the count.

    Raises:
        ValueError: by ``update``, without ``grads_at_previous_params``.

    References:
        Cutkosky and Orabona, STORM, arXiv 1905.10018; Chang, Liu, Yuan, arXiv 2509.15816 (MVR2).
    """

    def update_fn(updates, state, params=None, *, grads_at_previous_params=None, **extra_args):
        """Correct every gradient; the first has no previous one."""
        del params, extra_args
        before = require_previous(grads_at_previous_params, updates, "correct_by_same_batch")
        seen = jnp.asarray(state.count) > 0

        def correct(g, before):
            """Correct one parameter's gradient."""
            # C_1 = (1 + w) G_1: as if the gradient before the first were zero, which makes the average behind it G_1 at
            # gamma = 1.
            return _corrected(g, jnp.where(seen, before, jnp.zeros_like(before)), weight)

        return jax.tree.map(correct, updates, before), SameBatchState(optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(lambda params: SameBatchState(jnp.zeros([], jnp.int32)), update_fn)


class ExtrapolatedEmaState(NamedTuple):
    """State of `extrapolated_ema`: the average, shaped like the parameters."""

    average: PyTree


def extrapolated_ema(decay: Any, gamma: Any, *, accumulator_dtype: Any = None) -> optax.GradientTransformation:
    r"""Average gradients with variance reduction from the last gradient, in one buffer (MARS without clipping).

    Use it instead of the pair of correction and average where nothing is clipped between them.

    .. math::
        M_t = \beta M_{t-1} + (1 - \beta) G_t, \qquad U_t = (1 - \gamma) M_t + \gamma G_t

    which equals the average of `correct_by_last_gradient` with :math:`w = \gamma \beta / (1 - \beta)`. At
    gamma = 1 - beta it is `nesterov_ema`, at gamma = 0 `optax.ema`.

    Args:
        decay: the decay rate beta, in [0, 1).
        gamma: strength of the variance reduction; 0 none, 1 in full.
        accumulator_dtype: of the average, and of U where it is wider than the gradient's; None: the parameter's own.

    Raises:
        ValueError: for a decay outside [0, 1).

    State: 1 float per parameter.

    References:
        MARS-M, arXiv 2510.21800.
    """
    require_fraction("extrapolated_ema: decay", decay)

    def init_fn(params):
        return ExtrapolatedEmaState(optax.tree.zeros_like(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        """Average, and extrapolate towards the gradient."""
        del params
        updates = promoted(updates, updates, state.average)
        momentum = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.average, updates)
        # With average and extrapolation in one, no last gradient is kept.
        ahead = jax.tree.map(lambda m, g: ((1 - gamma) * m + gamma * g).astype(g.dtype), momentum, updates)
        return ahead, ExtrapolatedEmaState(optax.tree.cast_like(momentum, state.average))

    return optax.GradientTransformation(init_fn, update_fn)


@renamed_arguments(momentum="decay")
def low_rank_storm(
    decay: Any, rank: int, *, leaves: Leaves | None = None, placement: Placement | None = None, seed: int | Array = 0
) -> optax.GradientTransformationExtraArgs:
    r"""Average gradients as STORM does, keeping the average between updates as a matrix of low rank.

    Use it where STORM's average is too large to keep. It emits the full average of each update. ``update`` takes
    ``grads_at_previous_params``; with as much rank as the matrices have it equals `correct_by_same_batch` and
    `optax.ema`.

    .. math::
        M_t = G_t + \mu \left( \hat M_{t-1} - \nabla f(W_{t-1}; \xi_t) \right), \qquad M_1 = G_1

    Args:
        decay: mu, in [0, 1).
        rank: of the kept average, at least 1.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.
        seed: of the sketches.

    Raises:
        ValueError: for a momentum outside [0, 1) or a rank below 1; by ``update``, without
            ``grads_at_previous_params``.

    State: (m + n + 1) rank floats for an m x n matrix.

    References:
        Huang, Luo, Chen, LiMuon, arXiv 2509.14562, option 2.
    """
    require_fraction("low_rank_storm: decay", decay)
    if rank < 1:
        raise ValueError(f"low_rank_storm: rank must be at least 1, not {rank}")
    lift = Lift(LowRankStorm(decay, rank), leaves, placement, seed=seed)

    def update_fn(updates, state, params=None, *, grads_at_previous_params=None, **extra_args):
        """Apply the operation as it is at this update."""
        del params, extra_args
        before = require_previous(grads_at_previous_params, updates, "low_rank_storm")
        # The count goes in as a field: a lift hands arrays per matrix to an operation, no scalars.
        now = dataclasses.replace(lift, op=LowRankStorm(decay, rank).at(state.count))
        updates, state, _ = now.apply(updates, state, gradient=before)
        return updates, state

    return optax.GradientTransformationExtraArgs(lift.init, update_fn)


def require_previous(grads: PyTree | None, updates: PyTree, who: str) -> PyTree:
    """Raise on an update without the second gradient, and say how to get it; raise where it is of another shape."""
    if grads is None:
        raise ValueError(
            f"{who}: update needs grads_at_previous_params, this batch's gradient at the previous parameters; "
            "om.step_with_two_gradients computes and passes it"
        )
    # Or a second gradient (1, n) would be spread over a first one (m, n) without an error.
    table = by_path(grads)
    for path, g in by_path(updates).items():
        if path not in table or table[path].shape != g.shape:
            there = f"second gradient {table[path].shape}" if path in table else "gradient without a second"
            raise ValueError(f"{who}: {path}: {there}, where the first has shape {g.shape}")
    return grads


def _corrected(g: Array, before: Array, weight: Any) -> Array:
    """Return ``g + weight (g - before)`` in the dtype of ``g``."""
    return (g + weight * (g - before)).astype(g.dtype)
