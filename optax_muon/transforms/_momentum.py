"""Momentum: exponential averages of the gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree


def require_fraction(name: str, value: Any) -> None:
    """Refuse a number outside [0, 1); what is traced or injected later cannot be looked at."""
    if isinstance(value, int | float) and not 0 <= value < 1:
        raise ValueError(f"{name} must be in [0, 1), not {value}")


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

    .. math::
        M_t = \beta M_{t-1} + (1 - \beta) G_t, \qquad U_t = \beta M_t + (1 - \beta) G_t

    Without the look-ahead it is `optax.ema`; the heavy-ball form is `optax.trace`.

    Args:
        decay: the retained fraction beta, in [0, 1).
        debias: divide M by :math:`1 - \beta^{t+1}` and G by :math:`1 - \beta^t`, the form of `optax.contrib.muon`.
        accumulator_dtype: of the average; None: the parameter's own.

    State: 1 float per parameter.
    """
    require_fraction("nesterov_ema: decay", decay)

    def init_fn(params):
        count = jnp.zeros([], jnp.int32) if debias else None
        return NesterovEmaState(count, optax.tree.zeros_like(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        del params

        def average(old, new):
            return decay * old + (1 - decay) * new

        momentum = jax.tree.map(average, state.average, updates)
        ahead, now, count = momentum, updates, None
        if debias:
            count = optax.safe_increment(state.count)
            ahead = optax.tree.bias_correction(momentum, decay, optax.safe_increment(count))
            now = optax.tree.bias_correction(updates, decay, count)
        looked = jax.tree.map(lambda m, g: average(m, g).astype(g.dtype), ahead, now)
        momentum = jax.tree.map(lambda new, old: new.astype(old.dtype), momentum, state.average)
        return looked, NesterovEmaState(count, momentum)

    return optax.GradientTransformation(init_fn, update_fn)
