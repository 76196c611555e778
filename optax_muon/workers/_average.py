"""Updates averaged over workers."""

import optax

from optax_muon.workers._worker_axis import AxisName, mean_over_workers


def average_over(axis_name: AxisName) -> optax.GradientTransformation:
    r"""Replace the updates by their mean over the workers: data parallelism, where it stands first in a chain.

    Use it before the momentum for one optimizer over all workers' batches; behind the orthogonaliser it averages polar
    factors, which is shorter and, with data that differ between workers, does not stop where the mean gradient is zero.

    .. math::
        U_i \leftarrow \frac{1}{N} \sum_j U_j

    Args:
        axis_name: the workers' axis of `jax.shard_map` or `jax.vmap`, or several; None: one worker.

    State: none.

    Example:
        >>> import jax, jax.numpy as jnp, optax_muon as om
        >>> tx = om.workers.average_over("workers")
        >>> step = lambda g: tx.update(g, tx.init(g))[0]
        >>> jax.vmap(step, axis_name="workers")(jnp.array([1.0, 3.0])).tolist()
        [2.0, 2.0]
    """
    return optax.stateless(lambda updates, params: mean_over_workers(updates, axis_name, "average_over"))
