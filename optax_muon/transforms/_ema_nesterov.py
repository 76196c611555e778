"""Nesterov's look-ahead along an average of past steps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from optax_muon._numbers import require_fraction
from optax_muon.transforms._evaluation import number, overlay


class EmaNesterovState(NamedTuple):
    """State of `ema_nesterov`.

    Attributes:
        count: updates so far, int32 scalar.
        lookahead: b, with which the present parameters were made.
        steps: the average of the iterate's steps, shaped like the parameters.
        inner: the inner optimizer's state.
    """

    count: Any
    lookahead: Any
    steps: PyTree
    inner: optax.OptState

    def eval_params(self, params: PyTree) -> PyTree:
        """Return W, the iterate without look-ahead, for every parameter that this state holds."""
        lookahead = number(self.lookahead)
        return overlay(lambda y, m: y - lookahead * m, params, self.steps)


def ema_nesterov(
    inner: optax.GradientTransformation,
    decay: Any,
    lookahead: optax.ScalarOrSchedule,
    *,
    accumulator_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step from a point ahead of the iterate, along an average of the iterate's past steps.

    Use it around any optimizer where Nesterov's look-ahead along the last step alone is too noisy.

    .. math::
        Y_t &= W_t + b_t m_t \quad (\text{the parameters are } Y), \qquad
        W_{t+1} = Y_t + \text{inner}(\nabla f(Y_t); Y_t) \\
        m_{t+1} &= \gamma m_t + (1 - \gamma) (W_{t+1} - W_t), \qquad m_0 = 0

    The inner optimizer sees Y; evaluate at W with `optax_muon.eval_params`. The authors keep b at 0 during a warm-up
    and at the end of a run.

    Args:
        inner: a whole optimizer, its rate and decay included.
        decay: gamma, the decay rate of the average, in [0, 1).
        lookahead: b, a number or a schedule of it by the update from zero.
        accumulator_dtype: of the average; None: the parameter's own.

    State: 1 float per parameter, and the inner optimizer's.

    Raises:
        ValueError: for a decay outside [0, 1); by ``update``, without parameters.

    References:
        Yau et al., EMA-Nesterov, arXiv 2605.25395 (PARTIAL: the rule from a restatement, no author code seen).

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> tx = om.transforms.ema_nesterov(optax.sgd(1.0), 0.5, 2.0)
        >>> params = {"w": jnp.zeros(1)}
        >>> updates, state = tx.update({"w": -jnp.ones(1)}, tx.init(params), params)
        >>> updates["w"].tolist(), om.eval_params(state, optax.apply_updates(params, updates))["w"].tolist()
        ([2.0], [1.0])
    """
    require_fraction("ema_nesterov: decay", decay)
    inner = optax.with_extra_args_support(inner)

    def at(count: Any) -> Any:
        """Give b at update ``count``."""
        return jnp.asarray(lookahead(count) if callable(lookahead) else lookahead, float)

    def init_fn(params):
        """Start where the parameters are, without a direction."""
        count = jnp.zeros([], jnp.int32)
        steps = optax.tree.zeros_like(params, dtype=accumulator_dtype)
        return EmaNesterovState(count, at(count), steps, inner.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Move the iterate from the point ahead, and look ahead again."""
        if params is None:
            raise ValueError("ema_nesterov: update needs the parameters")
        moves, inner_state = inner.update(updates, state.inner, params, **extra_args)
        count = optax.safe_increment(state.count)
        b = at(count)
        # W_{t+1} - W_t is the inner optimizer's move and what the iterate was behind by.
        steps = jax.tree.map(lambda m, u: decay * m + (1 - decay) * (u + state.lookahead * m), state.steps, moves)
        emitted = jax.tree.map(lambda u, m: (u + b * m).astype(u.dtype), moves, steps)
        return emitted, EmaNesterovState(count, b, optax.tree.cast_like(steps, state.steps), inner_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
