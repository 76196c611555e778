"""Schedule-free averaging: gradients between a fast iterate and its average."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import is_known, require_fraction
from optax_muon.transforms._evaluation import number, overlay


class ScheduleFreeState(NamedTuple):
    """State of `schedule_free`.

    Attributes:
        count: updates so far, int32 scalar.
        weight: sum of the weights of all averaged iterates.
        interpolation: b, with which the present parameters were made.
        fast: z, the iterate that the inner optimizer moves.
        average: x if it is stored, else None.
        inner: the inner optimizer's state.
    """

    count: Any
    weight: Array
    interpolation: Array
    fast: PyTree
    average: Any
    inner: optax.OptState

    def eval_params(self, params: PyTree) -> PyTree:
        """Return x, the average, for every parameter that this state holds."""
        if self.average is not None:
            return overlay(lambda y, x: x, params, self.average)
        b = number(self.interpolation)
        return overlay(lambda y, z: _average(y, z, b), params, self.fast)


def schedule_free(
    inner: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    interpolation: optax.ScalarOrSchedule = 0.9,
    *,
    weight_power: float = 2.0,
    step_power: float = 0.0,
    inner_sees: Literal["fast", "params"] = "fast",
    store_average: bool = False,
    state_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Take gradients between a fast iterate and its weighted average; evaluate at the average.

    .. math::
        y_t &= (1 - b_t) z_t + b_t x_t, \qquad G_t = \nabla f(y_t) \quad (\text{the parameters are } y) \\
        z_{t+1} &= z_t + \text{inner}(G_t; z_t), \qquad
        x_{t+1} = x_t + \frac{w_t}{\sum_{i \le t} w_i} (z_{t+1} - x_t), \qquad w_t = t^r \eta_t^p

    Evaluate with `optax_muon.eval_params`. `optax.contrib.schedule_free` does the same where b is constant, the rate
    never falls and nothing in ``inner`` looks at the parameters; it shows ``inner`` y instead of z, so that decay acts
    elsewhere, and weighs by the largest rate so far.

    Args:
        inner: an optimizer with its learning rate and decay, without a momentum of its own where b plays that role.
        learning_rate: eta, for the weights alone; the rate of ``inner``.
        interpolation: b, or a schedule of it that starts at count 0; `anytime_interpolation` makes AMUSE's. Positive,
            unless the average is stored.
        weight_power: p; 0 with ``step_power=0`` makes x the plain mean.
        step_power: r, with t from 1; above 0 early iterates count less.
        inner_sees: what ``inner`` gets as parameters, and decays: z, or y as in the authors' code.
        store_average: keep x instead of solving for it, against one float more; needed for b = 0, advisable for
            parameters in bfloat16, together with ``state_dtype=jnp.float32``.
        state_dtype: of z and x; None: the parameters' own.

    State: 1 float per parameter (2 with ``store_average``) and the inner optimizer's.

    Raises:
        ValueError: for an interpolation outside [0, 1), or of 0 without ``store_average``, or an unknown
            ``inner_sees``; by ``update``, without parameters.

    References:
        Defazio et al., The Road Less Scheduled, arXiv 2405.15682; a moving b: Kim et al., AMUSE, arXiv 2605.22432.
    """
    _require_settings(interpolation, store_average, inner_sees)
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        """Start z, and x where it is stored, at the parameters."""
        # Copies, so that parameters and state can both be donated to a jitted step.
        fast = jax.tree.map(lambda p: jnp.array(p, dtype=state_dtype, copy=True), params)
        average = jax.tree.map(lambda z: z.copy(), fast) if store_average else None
        first = jnp.asarray(_at(interpolation, jnp.zeros([], jnp.int32)), float)
        return ScheduleFreeState(
            jnp.zeros([], jnp.int32), jnp.zeros([], float), first, fast, average, inner.init(params)
        )

    def update_fn(updates, state, params=None, **extra_args):
        """Move z by the inner optimizer, x towards z; return the change of y."""
        if params is None:
            raise ValueError("schedule_free: update needs the parameters")
        b, average = state.interpolation, state.average
        if average is None:
            # Solved with the b that made y: with the new one, x would be pulled towards z at every step.
            average = jax.tree.map(lambda y, z: _average(y, z, b), params, state.fast)
        seen = state.fast if inner_sees == "fast" else params
        moves, inner_state = inner.update(updates, state.inner, seen, **extra_args)
        fast = optax.tree.cast_like(optax.apply_updates(state.fast, moves), state.fast)
        weight = jnp.asarray(_at(learning_rate, state.count), state.weight.dtype) ** weight_power
        weight = weight * (state.count + 1).astype(weight.dtype) ** step_power
        total = state.weight + weight
        # A rate of zero, as at the start of a warm-up, has no weight: x stays.
        share = jnp.where(total == 0, 0, weight / jnp.where(total == 0, 1, total))
        average = jax.tree.map(lambda x, z: (x + share * (z - x)).astype(z.dtype), average, fast)
        count = optax.safe_increment(state.count)
        b = jnp.asarray(_at(interpolation, count), state.interpolation.dtype)
        # The emitted update leads from the y of now to the y of the next gradient.
        change = jax.tree.map(lambda x, z, y: (x + (1 - b) * (z - x) - y).astype(y.dtype), average, fast, params)
        return change, ScheduleFreeState(count, total, b, fast, average if store_average else None, inner_state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _require_settings(interpolation: optax.ScalarOrSchedule, store_average: bool, inner_sees: str) -> None:
    """Raise on what `schedule_free` cannot do."""
    require_fraction("schedule_free: interpolation", interpolation)
    if is_known(interpolation) and interpolation == 0 and not store_average:
        raise ValueError("schedule_free: with interpolation 0 the average cannot be solved for: store_average=True")
    if inner_sees not in ("fast", "params"):
        raise ValueError(f"schedule_free: inner_sees must be 'fast' or 'params', not {inner_sees!r}")


def anytime_interpolation(
    initial: Any, exponent: Any, warmup_steps: int, form: Literal["weights", "steps", "published"] = "weights"
) -> Callable[[Any], Array]:
    r"""Make AMUSE's interpolation: constant over the warm-up, then rising towards 1.

    Use it as ``interpolation`` of `schedule_free`, with a rate from `warmed_up`.

    .. math::
        b_t = 1 - S_t^{\rho} (1 - b_{\text{init}}), \qquad t > T_0

    Args:
        initial: b during the warm-up.
        exponent: rho; 0 keeps b constant.
        warmup_steps: T_0 of a linear warm-up to a constant rate, at least 2.
        form: S, in (0, 1]. ``weights`` is the authors' code, the summed squared rates before T_0 over those before t;
            ``steps`` their second version's T_0 / t; ``published`` the first version's (T_0 - 1) / (t - 1).

    References:
        Kim et al., AMUSE, arXiv 2605.22432, github.com/kjeiun/amuse.

    Raises:
        ValueError: for an unknown form, or fewer than 2 warm-up steps.
    """
    if form not in ("weights", "steps", "published"):
        raise ValueError(f"anytime_interpolation: form must be 'weights', 'steps' or 'published', not {form!r}")
    if warmup_steps < 2:
        raise ValueError(f"anytime_interpolation: warmup_steps must be at least 2, not {warmup_steps}")
    # Up to T_0 - 1 the rate is i / T_0 of the peak; after it every squared rate counts 1, so the sum needs no state.
    before = math.fsum((i / warmup_steps) ** 2 for i in range(1, warmup_steps))

    def interpolation(count):
        """Return b for update ``count``, from zero."""
        late = jnp.maximum(jnp.asarray(count + 1 - warmup_steps, float), 0)
        if form == "weights":
            shrunk = before / (before + late)
        else:
            start = warmup_steps if form == "steps" else warmup_steps - 1
            shrunk = start / (start + late)
        return 1 - shrunk**exponent * (1 - initial)

    return interpolation


def warmed_up(learning_rate: optax.ScalarOrSchedule, steps: int) -> Callable[[Any], Any]:
    """Multiply a rate by ``min(1, t / steps)`` at update t = 1, 2, ...

    Use it where no schedule but a warm-up is wanted.

    Args:
        learning_rate: a number, or a schedule by the update's number from zero.
        steps: of the linear warm-up, at least 1.
    """

    def rate(count):
        """Return the rate for update ``count``, from zero."""
        return _at(learning_rate, count) * jnp.minimum(1.0, jnp.asarray(count + 1, float) / steps)

    return rate


def _at(value: Any, count: Any) -> Any:
    """Value of a number or of a schedule at ``count``."""
    return value(count) if callable(value) else value


def _average(y: Array, z: Array, b: Any) -> Array:
    """Solve ``y = (1 - b) z + b x`` for x."""
    return z + (y - z) / b
