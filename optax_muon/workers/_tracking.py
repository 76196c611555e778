"""An average over all workers that each follows by hearing its neighbours alone."""

from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import PyTree

from optax_muon.transforms._precision import promoted
from optax_muon.workers._graph import Graph
from optax_muon.workers._worker_axis import AxisName, own


class TrackingState(NamedTuple):
    """State of `track`: what this worker's estimate has beyond its own input, shaped like the parameters."""

    beyond: PyTree


def track(graph: Graph, axis_name: AxisName, *, accumulator_dtype: Any = None) -> optax.GradientTransformation:
    r"""Follow the mean of all workers' updates by talking to neighbours: gradient tracking.

    Use it behind the momentum and before the orthogonaliser: polar factors of each worker's own data do not add up to
    zero where the mean gradient is zero.

    .. math::
        V_i \leftarrow \sum_j w_{ij} \left( V_j + M_j - M_j^{\text{old}} \right), \qquad
        \frac{1}{N} \sum_i V_i = \frac{1}{N} \sum_i M_i

    V is emitted. What is kept is :math:`V - M`, all that the next update needs of both.

    Args:
        graph: who hears whom, a `Graph`.
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`; None: one worker, whose updates stay.
        accumulator_dtype: of what is kept; None: the parameter's own.

    State: 1 float per parameter; none for one worker.

    References:
        He, Ren, Mao, Larsson, DeMuon, arXiv 2510.01377.
    """
    if axis_name is None:
        return optax.identity()

    def init_fn(params):
        return TrackingState(optax.tree.zeros_like(own(params, axis_name), dtype=accumulator_dtype))

    def update_fn(updates, state, params=None):
        """Mix what all estimates are with their inputs' changes."""
        del params
        updates = promoted(updates, updates, state.beyond)
        estimate = graph.mix(jax.tree.map(lambda d, m: d + m, state.beyond, updates), axis_name)
        beyond = jax.tree.map(lambda v, m: v - m, estimate, updates)
        return optax.tree.cast_like(estimate, updates), TrackingState(optax.tree.cast_like(beyond, state.beyond))

    return optax.GradientTransformation(init_fn, update_fn)
