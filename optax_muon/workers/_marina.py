"""A mean gradient that compressed changes carry on, and that is made anew now and then: MARINA."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon._numbers import is_known
from optax_muon.matrices._resolve import Leaves
from optax_muon.transforms._variance_reduction import require_previous
from optax_muon.workers._exchange import Sender
from optax_muon.workers._worker_axis import AxisName, mean_over_workers, own, shared_zeros


class MarinaState(NamedTuple):
    """State of `marina`.

    Attributes:
        count: updates so far, int32 scalar.
        estimate: of the mean gradient, the same on all workers, shaped like the parameters.
        compressor: the compressor's own state.
    """

    count: Any
    estimate: PyTree
    compressor: optax.OptState


def marina(
    compressor: optax.GradientTransformation,
    probability: float,
    axis_name: AxisName,
    *,
    leaves: Leaves | None = None,
    seed: int | Array = 0,
    accumulator_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Emit an estimate of the mean gradient: now and then the whole of it, else the last one and compressed changes.

    Use it with an unbiased compressor, for which the estimate has the right mean. ``update`` takes
    ``grads_at_previous_params``, this batch's gradient at the parameters of one step ago;
    `optax_muon.step_with_two_gradients` computes it.

    .. math::
        g \leftarrow \frac{1}{N} \sum_j G_j \text{ with probability } p \text{ and at first, else } \;
        g + \frac{1}{N} \sum_j C\left( G_j - G_j^{\text{prev}} \right)

    Args:
        compressor: e.g. ``transforms.random_k(0.1, unbiased=True)``.
        probability: p, in (0, 1]; all workers draw the same coin.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks; for a compressor that was
            given none.
        seed: of the coin.
        accumulator_dtype: of the estimate; None: the parameter's own.

    State: 1 float per parameter, and the compressor's.

    Raises:
        ValueError: for a probability outside (0, 1]; by ``update``, without ``grads_at_previous_params``.

    References:
        Gorbunov et al., MARINA, arXiv 2102.07845; Qian et al., arXiv 2604.10689 (OUR READING of its abstract).
    """
    if is_known(probability) and not 0 < probability <= 1:
        raise ValueError(f"marina: probability must be in (0, 1], not {probability}")
    sender = Sender(compressor, axis_name, "marina", leaves)

    def init_fn(params):
        """Know nothing; the first update is whole."""
        zeros = shared_zeros(params, axis_name, accumulator_dtype)
        return MarinaState(jnp.zeros([], jnp.int32), zeros, sender.init(params))

    def update_fn(updates, state, params=None, *, grads_at_previous_params=None, **extra_args):
        """Send gradients or their changes."""
        before = require_previous(grads_at_previous_params, updates, "marina")

        def whole() -> tuple[PyTree, Any]:
            """Average gradients."""
            mean = mean_over_workers(updates, axis_name, "marina")
            return optax.tree.cast_like(mean, state.estimate), own(state.compressor, axis_name)

        def change() -> tuple[PyTree, Any]:
            """Average compressed changes, and add them."""
            difference = jax.tree.map(lambda g, b: g - b, updates, before)
            _, mean, kept = sender.send(difference, state.compressor, params, **extra_args)
            moved = jax.tree.map(lambda e, m: (e + m).astype(e.dtype), state.estimate, mean)
            return moved, own(kept, axis_name)

        # From the step alone: a coin of a worker's own would leave some waiting for a message that nobody sends.
        coin = jax.random.bernoulli(jax.random.fold_in(jax.random.key(seed), state.count), probability)
        estimate, kept = lax.cond(coin | (state.count == 0), whole, change)
        count = optax.safe_increment(state.count)
        return optax.tree.cast_like(estimate, updates), MarinaState(count, estimate, kept)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
