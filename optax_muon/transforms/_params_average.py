"""An average of the parameters beside the training."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from optax_muon._numbers import is_known, require_fraction
from optax_muon._renamed import renamed_arguments
from optax_muon.transforms._evaluation import number, overlay


class ParamsEmaState(NamedTuple):
    """State of `average_params`.

    Attributes:
        count: updates so far, int32 scalar.
        log_rate: logarithm of rate^t, of which 1 - rate^t can be had without cancellation; a sum, since an injected
            rate may change.
        average: of the parameters, not yet corrected for its start at zero.
    """

    count: Any
    log_rate: Any
    average: PyTree

    def eval_params(self, params: PyTree) -> PyTree:
        """Return the corrected average; before the first update, the parameters."""
        started = number(self.count) > 0
        # expm1: 1 - 0.999^t loses its digits in float32 at small t.
        share = jnp.where(started, -jnp.expm1(number(self.log_rate)), 1)
        return overlay(lambda p, e: jnp.where(started, e / share, p.astype(e.dtype)), params, self.average)


@renamed_arguments(rate="decay")
def average_params(decay: float, *, accumulator_dtype: Any = None) -> optax.GradientTransformation:
    """Average the parameters beside the training, for evaluation by `optax_muon.eval_params`.

    Use it where evaluation jumps about late in training, and no schedule lets the rate fall. Every update adds the
    parameters that it is given, those before the step. Put it anywhere in a chain.

    Args:
        decay: the decay rate, in [0, 1); 0.999 averages about a thousand steps.
        accumulator_dtype: of the average; None: the parameter's own.

    State: 1 float per parameter.

    Raises:
        ValueError: for a rate outside [0, 1); by ``update``, without parameters.

    References:
        Frans et al., SPlus, arXiv 2506.07254.
    """
    require_fraction("average_params: decay", decay)

    def init_fn(params):
        """Start from zero; the average is corrected for that when it is read."""
        zeros = optax.tree.zeros_like(params, dtype=accumulator_dtype)
        return ParamsEmaState(jnp.zeros([], jnp.int32), jnp.zeros([], float), zeros)

    def update_fn(updates, state, params=None):
        """Average the parameters in; the updates pass."""
        if params is None:
            raise ValueError("average_params: update needs the parameters")
        average = jax.tree.map(lambda e, p: (decay * e + (1 - decay) * p).astype(e.dtype), state.average, params)
        # A Python number's logarithm in double: 0.999 in float32 is off by 3e-5 of it.
        log_rate = (math.log(decay) if decay else -math.inf) if is_known(decay) else jnp.log(decay)
        total = (state.log_rate + log_rate).astype(state.log_rate.dtype)
        return updates, ParamsEmaState(optax.safe_increment(state.count), total, average)

    return optax.GradientTransformation(init_fn, update_fn)
