"""Model truncation: shorten a step that would push a model of the loss below its lower bound."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_fraction
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, cutting_axes


class MomoState(NamedTuple):
    """State of `momo`.

    Attributes:
        count: updates so far, int32 scalar.
        intercept: average of the losses' linear models at the origin, scalar.
        momentum: state of the average.
        direction: state of the direction.
    """

    count: Any
    intercept: Any
    momentum: Any
    direction: Any


def momo(
    momentum: optax.GradientTransformation,
    direction: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    *,
    decay: Any,
    lower_bound: Any = None,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Take a direction along averaged gradients, no further than where the averaged loss model meets a lower bound.

    .. math::
        \ell_t &= \beta \ell_{t-1} + (1 - \beta)(f_t - \langle W_t, G_t \rangle), \qquad
        \ell_0 = f_0 - \langle W_0, G_0 \rangle \\
        U_t &\leftarrow \min\left(1, \frac{(\ell_t + \langle W_t, M_t \rangle - f_*)_+}{\eta_t \langle M_t, U_t \rangle}
        \right) U_t

    The denominator is the squared dual norm for steepest descent and the dual norm for normalised descent, so both
    kinds of direction need no more. The result still wants ``scale_by_learning_rate(learning_rate)``, so that decay
    can stand between with the untruncated rate.

    Args:
        momentum: from gradients to their average M, such as `first_gradient_ema`.
        direction: from M to U; its ``update`` also gets the raw gradients as ``gradients=``.
        learning_rate: eta, the rate that follows.
        decay: beta of the model; the one of ``momentum``.
        lower_bound: f_*, in the loss's units, below which it cannot go; None: never truncate, and ask for no value.
        leaves: a tree of `Leaf`, whose specs tell inside `jax.shard_map` how arrays are cut; of no use elsewhere.

    State: two scalars beside those of ``momentum`` and ``direction``.

    Raises:
        ValueError: for a decay outside [0, 1); by ``update``, without ``value`` or parameters where a bound is given.

    References:
        Crawshaw, Modi, Liu, Gower, arXiv 2510.09827 (MuonMax and Momo).
    """
    require_fraction("momo: decay", decay)
    turn = optax.with_extra_args_support(direction)

    def init_fn(params):
        scalar = jnp.zeros([], _wide(params))
        return MomoState(jnp.zeros([], jnp.int32), scalar, momentum.init(params), turn.init(params))

    def update_fn(updates, state, params=None, *, value=None, **extra_args):
        """Average, take the direction, and shorten it where the model would pass the lower bound."""
        average, averaging = momentum.update(updates, state.momentum, params)
        # The direction before the truncation: it couples all leaves, so it comes last, from whole-tree sums.
        steps, turning = turn.update(average, state.direction, params, gradients=updates, **extra_args)
        count, intercept = optax.safe_increment(state.count), state.intercept
        if lower_bound is not None:
            if value is None or params is None:
                raise ValueError("momo: with a lower_bound, update needs params and value, the loss at the parameters")
            cut = cutting_axes(updates, leaves)
            now = (value - inner_of_trees(params, updates, cut)).astype(intercept.dtype)
            intercept = jnp.where(state.count == 0, now, decay * intercept + (1 - decay) * now).astype(now.dtype)
            rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
            gap = jnp.maximum(intercept + inner_of_trees(params, average, cut) - lower_bound, 0)
            descent = rate * inner_of_trees(average, steps, cut)
            # Written so that nothing is divided by zero where M is zero: no descent, no truncation.
            kept = jnp.where(descent > gap, gap / jnp.where(descent > gap, descent, 1), 1)
            # A NaN compares false and would be kept as 1; it must be seen.
            kept = jnp.where(jnp.isnan(gap + descent), jnp.nan, kept)
            steps = jax.tree.map(lambda u: (kept * u).astype(u.dtype), steps)
        return steps, MomoState(count, intercept, averaging, turning)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _wide(tree: PyTree) -> Any:
    """Real dtype of scalars over a tree: float32 or wider."""
    return jnp.finfo(accumulator_dtype(jnp.result_type(jnp.float16, *jax.tree.leaves(tree)))).dtype


def inner_of_trees(a: PyTree, b: PyTree, cut: Mapping[str, tuple[str, ...]]) -> Array:
    """Pair two trees in float32 or wider; ``cut`` are the axes of the caller's own map that cut their arrays."""

    def pair(path: str, x: Array, y: Array) -> Array:
        """Pair two arrays."""
        wide = accumulator_dtype(jnp.result_type(x, y))
        part = jnp.sum(jnp.real(jnp.conj(x.astype(wide)) * y.astype(wide)))
        return lax.psum(part, cut[path]) if cut[path] else part

    return sum(jax.tree.leaves(map_by_path(pair, a, by_path(b))), start=jnp.zeros([]))
