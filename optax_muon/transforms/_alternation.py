"""Two transformations by turns."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from optax_muon._numbers import require_whole


class AlternationState(NamedTuple):
    """State of `alternate`.

    Attributes:
        count: updates since the last turn, int32 scalar.
        now: state of the transformation of every ``period``-th step.
        otherwise: state of the other.
    """

    count: Any
    now: optax.OptState
    otherwise: optax.OptState


def alternate(
    period: int, tx: optax.GradientTransformation, otherwise: optax.GradientTransformation, *, first: int = 1
) -> optax.GradientTransformationExtraArgs:
    """Apply ``tx`` at step ``first`` and every ``period``-th after it, and ``otherwise`` at the rest.

    Use it to pay for an expensive step now and then, as LionMuon does. Only the one whose turn it is computes, and only
    its state moves: a schedule inside counts its own turns. `optax.conditionally_transform` leaves the update as it is
    at the other steps.

    Args:
        period: in steps; 1 is ``tx`` alone.
        tx: a transformation, an expensive one as a rule.
        otherwise: the other.
        first: the first step of ``tx``, counted from 1, at most ``period``.

    Raises:
        ValueError: for a period that is no whole number of at least 1, or a first step beyond it.

    State: that of both.

    References:
        Bolatov et al., LionMuon, arXiv 2605.19811.
    """
    require_whole("alternate: period", period)
    require_whole("alternate: first", first)
    if first > period:
        raise ValueError(f"alternate: first must be at most period={period}, not {first}")
    mine, other = optax.with_extra_args_support(tx), optax.with_extra_args_support(otherwise)

    def init_fn(params):
        return AlternationState(jnp.zeros([], jnp.int32), mine.init(params), other.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Run the one whose turn it is; the other's state stays."""

        def turn():
            """Update by the periodic one."""
            u, now = mine.update(updates, state.now, params, **extra_args)
            # Both branches of a cond must agree in dtype, whatever the two transformations make of it.
            return optax.tree.cast_like(u, updates), now, state.otherwise

        def between():
            """Update by the other one."""
            u, rest = other.update(updates, state.otherwise, params, **extra_args)
            return optax.tree.cast_like(u, updates), state.now, rest

        updates, now, rest = jax.lax.cond(state.count % period == first - 1, turn, between)
        # Counted modulo the period: an int32 that saturates would stop the alternation.
        return updates, AlternationState((state.count + 1) % period, now, rest)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
