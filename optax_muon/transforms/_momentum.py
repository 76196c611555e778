"""Momentum: exponential averages of the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from optax_muon._numbers import require_fraction
from optax_muon._renamed import renamed_arguments
from optax_muon.transforms._precision import promoted


class NesterovEmaState(NamedTuple):
    """State of `nesterov_ema`.

    Attributes:
        count: updates so far, int32 scalar; None without bias correction, which alone needs it.
        average: of the gradients, shaped like the parameters. Not called momentum: that is the name of the
            hyperparameter, and `optax.tree.get` would find both.
    """

    count: Any
    average: PyTree


def nesterov_ema(decay: Any, *, debias: bool = False, accumulator_dtype: Any = None) -> optax.GradientTransformation:
    r"""Average gradients and look one step ahead by interpolation, as the published Muon does.

    Use it in front of an orthogonaliser.

    .. math::
        M_t = \beta M_{t-1} + (1 - \beta) G_t, \qquad U_t = \beta M_t + (1 - \beta) G_t

    Without the look-ahead it is `optax.ema`; the heavy-ball form is `optax.trace`.

    Args:
        decay: the decay rate beta, in [0, 1).
        debias: divide M by :math:`1 - \beta^{t+1}` and G by :math:`1 - \beta^t`, the form of `optax.contrib.muon`.
        accumulator_dtype: of the average, and of U where it is wider than the gradient's (see `compute_in`); None: the
            parameter's own.

    Raises:
        ValueError: for a decay outside [0, 1).

    State: 1 float per parameter.

    References:
        Jordan et al., Muon (2024), github.com/KellerJordan/Muon.
    """
    require_fraction("nesterov_ema: decay", decay)

    def init_fn(params):
        count = jnp.zeros([], jnp.int32) if debias else None
        return NesterovEmaState(count, optax.tree.zeros_like(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        """Average, then look one step ahead."""
        del params
        updates = promoted(updates, updates, state.average)

        def average(old, new):
            return decay * old + (1 - decay) * new

        momentum = jax.tree.map(average, state.average, updates)
        ahead, now, count = momentum, updates, None
        if debias:
            count = optax.safe_increment(state.count)
            # One step further than the gradient's: the look-ahead already weighs the next step, as in
            # optax.contrib.muon.
            ahead = optax.tree.bias_correction(momentum, decay, optax.safe_increment(count))
            now = optax.tree.bias_correction(updates, decay, count)
        looked = jax.tree.map(lambda m, g: average(m, g).astype(g.dtype), ahead, now)
        momentum = jax.tree.map(lambda new, old: new.astype(old.dtype), momentum, state.average)
        return looked, NesterovEmaState(count, momentum)

    return optax.GradientTransformation(init_fn, update_fn)


def ema(decay: Any, *, nesterov: bool, accumulator_dtype: Any = None) -> optax.GradientTransformation:
    """Average gradients from zero, without bias correction: `nesterov_ema`, or `optax.ema` without the look-ahead.

    Use it where a flag chooses the look-ahead.

    Args:
        decay: the decay rate, in [0, 1).
        nesterov: look one step ahead.
        accumulator_dtype: of the average; None: the parameter's own.

    Raises:
        ValueError: for a decay outside [0, 1).

    State: 1 float per parameter.
    """
    require_fraction("ema: decay", decay)
    if nesterov:
        return nesterov_ema(decay, accumulator_dtype=accumulator_dtype)
    # debias=False, as in the published Muon: a scale-free map behind it does not see the common factor.
    return optax.ema(decay, debias=False, accumulator_dtype=accumulator_dtype)


class TwoRateEmaState(NamedTuple):
    """State of `two_rate_ema`.

    Attributes:
        average: the average, shaped like the parameters.
    """

    average: PyTree


@renamed_arguments(now="step_decay", later="average_decay")
def two_rate_ema(step_decay: Any, average_decay: Any, *, accumulator_dtype: Any = None) -> optax.GradientTransformation:
    r"""Mix the gradient in at one rate for this step and at another for the state, as Lion does.

    Use it where this step should follow the gradient more closely than the average does.

    .. math::
        U_t = \beta_1 M_{t-1} + (1 - \beta_1) G_t, \qquad M_t = \beta_2 M_{t-1} + (1 - \beta_2) G_t

    `optax.scale_by_lion` takes the sign at once; here the direction is left to the next transformation. With
    :math:`\beta_1 = \beta_2^2` it is `nesterov_ema`.

    Args:
        step_decay: beta_1, in [0, 1).
        average_decay: beta_2, in [0, 1).
        accumulator_dtype: of the average, and of U where it is wider than the gradient's; None: the parameter's own.

    Raises:
        ValueError: for a rate outside [0, 1).

    State: 1 float per parameter.

    References:
        Chen et al., Lion, arXiv 2302.06675; Bolatov et al., LionMuon, arXiv 2605.19811.
    """
    require_fraction("two_rate_ema: step_decay", step_decay)
    require_fraction("two_rate_ema: average_decay", average_decay)

    def init_fn(params):
        return TwoRateEmaState(optax.tree.zeros_like(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        """Mix for this step, and average for the next."""
        del params
        updates = promoted(updates, updates, state.average)

        def average(decay, old, new, like):
            return (decay * old + (1 - decay) * new).astype(like.dtype)

        mixed = jax.tree.map(lambda m, g: average(step_decay, m, g, g), state.average, updates)
        kept = jax.tree.map(lambda m, g: average(average_decay, m, g, m), state.average, updates)
        return mixed, TwoRateEmaState(kept)

    return optax.GradientTransformation(init_fn, update_fn)
