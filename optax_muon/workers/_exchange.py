"""Compressed updates between workers, and estimates that only compressed differences move: EF21."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import PyTree

from optax_muon.matrices._resolve import Leaves
from optax_muon.transforms import Compressor, follow
from optax_muon.transforms._precision import promoted
from optax_muon.workers._worker_axis import (
    AxisName,
    from_all_workers,
    mean_over_workers,
    own,
    own_matrices,
    shared_zeros,
    worker_count,
)


@dataclasses.dataclass(frozen=True)
class Sender:
    """Sends updates through a compressor to all workers.

    Args:
        compressor: any transformation; the message of a `transforms.Compressor` travels, else the whole output.
        axis_name: the workers' axis; None: one worker.
        owner: whom errors name.
        leaves: for a compressor that was given none.
    """

    compressor: optax.GradientTransformation
    axis_name: AxisName
    owner: str
    leaves: Leaves | None = None

    @property
    def bound(self) -> Any:
        """The compressor, which knows that every worker has matrices of its own."""
        if not isinstance(self.compressor, Compressor):
            return optax.with_extra_args_support(self.compressor)
        return self.compressor.with_leaves(lambda given: own_matrices(given or self.leaves, self.axis_name))

    def init(self, params: PyTree) -> Any:
        """Make the compressor's state, a worker's own."""
        return own(self.bound.init(own(params, self.axis_name)), self.axis_name)

    def send(self, updates: PyTree, state: Any, params: PyTree = None, **extra_args: Any) -> tuple[PyTree, PyTree, Any]:
        """Compress updates; give what this worker sent, the mean of what all sent, and the new state."""
        count, compressor = worker_count(self.axis_name, self.owner), self.bound
        if not isinstance(compressor, Compressor) or count == 1:
            sent, state = optax.with_extra_args_support(compressor).update(updates, state, params, **extra_args)
            return sent, mean_over_workers(sent, self.axis_name, self.owner), state
        (message, common), state = compressor.encode(updates, state)
        # What a placement learns inside a map of its own has lost the account of the caller's axes.
        message, state = own((message, state), self.axis_name)
        sent, start = compressor.decode(message, common, updates), shared_zeros(updates, self.axis_name)
        if compressor.is_linear:
            # The mean of messages is the message of the mean: it is made in the network.
            mean = mean_over_workers(message, self.axis_name, self.owner)
            return sent, compressor.decode(mean, common, start), state
        all_sent = jax.tree.map(lambda x: from_all_workers(x, self.axis_name), message)

        def add(total: PyTree, one: PyTree) -> tuple[PyTree, None]:
            """Add one worker's message to a sum, so that no two of them are ever whole at once."""
            return jax.tree.map(jnp.add, total, compressor.decode(one, common, start)), None

        total, _ = lax.scan(add, start, all_sent)
        return sent, jax.tree.map(lambda x: x / count, total), state


class ExchangeState(NamedTuple):
    """State of `exchange`.

    Attributes:
        own: this worker's estimate, which all others could keep from its messages, shaped like the parameters.
        mean: the mean of all estimates, the same on all workers, shaped like the parameters.
        compressor: the compressor's own state.
    """

    own: PyTree
    mean: PyTree
    compressor: optax.OptState


def exchange(
    compressor: optax.GradientTransformation,
    axis_name: AxisName,
    *,
    leaves: Leaves | None = None,
    accumulator_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Emit the mean over workers of estimates that compressed differences move: EF21.

    Use it where the mean of gradients or momenta is too many bytes: what a message leaves out comes with later ones,
    where compressing without an estimate does not converge.

    .. math::
        R_j = C(U_j - G_j), \qquad G_j \leftarrow G_j + R_j, \qquad G \leftarrow G + \frac{1}{N} \sum_j R_j

    G is emitted; it is the mean of all G_j at all times.

    Args:
        compressor: a contraction; `transforms.top_k`, `transforms.low_rank`, `transforms.random_k` and
            `transforms.scale_by_mean_sign` travel as the small messages that they are, any other transformation as a
            whole mean.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, `transforms.follow`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks; for a compressor that was
            given none.
        accumulator_dtype: of both estimates; None: the parameter's own.

    State: 2 floats per parameter, and the compressor's; 1 for one worker.

    References:
        Richtarik et al., EF21, arXiv 2106.05203; Gruntkowska et al., EF21-Muon, arXiv 2510.00643.
    """
    sender = Sender(compressor, axis_name, "exchange", leaves)
    if axis_name is None:
        return follow(sender.bound, accumulator_dtype=accumulator_dtype)

    def init_fn(params):
        """Start from estimates of zero, which all workers know."""
        mine = optax.tree.zeros_like(own(params, axis_name), dtype=accumulator_dtype)
        return ExchangeState(mine, shared_zeros(params, axis_name, accumulator_dtype), sender.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Send what this worker's estimate lacks, and move both estimates by what was sent."""
        updates = promoted(updates, updates, state.own)
        behind = jax.tree.map(lambda u, g: u - g, updates, state.own)
        sent, mean, kept = sender.send(behind, state.compressor, params, **extra_args)
        estimate = jax.tree.map(lambda g, r: (g + r).astype(g.dtype), state.own, sent)
        common = jax.tree.map(lambda g, r: (g + r).astype(g.dtype), state.mean, mean)
        return optax.tree.cast_like(common, updates), ExchangeState(estimate, common, kept)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
