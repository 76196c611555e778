"""An average of the gradients that starts at the first of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from optax_muon._numbers import require_fraction
from optax_muon.linalg._arithmetic import accumulator_dtype as wide_dtype
from optax_muon.transforms._precision import promoted


class FirstGradientEmaState(NamedTuple):
    """State of `first_gradient_ema`.

    Attributes:
        count: updates so far, int32 scalar.
        average: of the gradients, shaped like the parameters.
    """

    count: Any
    average: PyTree


def first_gradient_ema(decay: Any, *, accumulator_dtype: Any = None) -> optax.GradientTransformation:
    r"""Average gradients, starting at the first one instead of at zero.

    .. math:: M_0 = G_0, \qquad M_t = \beta_t M_{t-1} + (1 - \beta_t) G_t

    Take it where the size of the average matters from the first step on, so that `optax.ema` would start too small:
    dual norms, models of the loss. A map that is scale invariant sees only the different weighting of the first
    gradient.

    Args:
        decay: the decay rate beta, in [0, 1), or a schedule of it by the step from zero.
        accumulator_dtype: of the average, and of what is emitted where it is wider than the gradient's; None: the
            parameter's own.

    Raises:
        ValueError: for a decay outside [0, 1).

    State: 1 float per parameter.
    """
    require_fraction("first_gradient_ema: decay", decay)

    def init_fn(params):
        average = optax.tree.zeros_like(params, dtype=accumulator_dtype)
        return FirstGradientEmaState(jnp.zeros([], jnp.int32), average)

    def update_fn(updates, state, params=None):
        """Average; the first gradient stands alone."""
        del params
        retained: Any = decay(state.count) if callable(decay) else decay
        # A decay rate of 0 at the first step is M_0 = G_0, without a second branch.
        retained = jnp.where(state.count == 0, 0.0, retained)

        def average(old, new):
            wide = wide_dtype(jnp.result_type(old, new))
            return retained.astype(wide) * old.astype(wide) + (1 - retained).astype(wide) * new.astype(wide)

        averages = jax.tree.map(average, state.average, updates)
        out = promoted(averages, updates, state.average)
        return out, FirstGradientEmaState(
            optax.safe_increment(state.count), optax.tree.cast_like(averages, state.average)
        )

    return optax.GradientTransformation(init_fn, update_fn)
