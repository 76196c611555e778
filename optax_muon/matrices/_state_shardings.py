"""Shardings of an optimizer's state."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from optax_muon.matrices._paths import by_path


def state_shardings(tx: optax.GradientTransformation, params: PyTree, shardings: PyTree) -> PyTree:
    """Give every leaf of ``tx.init(params)`` its sharding, without running it.

    State shaped like a parameter is sharded as that parameter is; everything else is replicated over the same mesh. On
    an Auto mesh ``jax.jit(tx.init)`` forgets shardings, so pass the result as ``out_shardings``.

    Args:
        tx: the optimizer.
        params: arrays or `jax.ShapeDtypeStruct` objects.
        shardings: a tree like ``params`` of `jax.sharding.NamedSharding`.

    Raises:
        ValueError: naming a parameter without a sharding.
    """
    table = by_path(shardings, is_leaf=lambda x: isinstance(x, jax.sharding.Sharding))
    missing = [path for path in by_path(params) if path not in table]
    if missing:
        raise ValueError(f"state_shardings: no sharding for {missing[0]!r} (of {len(missing)} missing)")
    if not table:
        return jax.eval_shape(tx.init, params)
    mesh = next(iter(table.values())).mesh
    replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def place(x: Any, shape: Any, sharding: Any) -> Any:
        """Choose the sharding of what the state keeps in a parameter's place."""
        if isinstance(x, optax.MaskedNode):
            return x
        # Such as a second moment per row, whose shape the parameter's spec does not fit.
        return sharding if x.shape == shape.shape else replicated

    return optax.tree.map_params(
        tx, place, jax.eval_shape(tx.init, params), params, shardings,
        transform_non_params=lambda x: jax.tree.map(lambda _: replicated, x),
        is_leaf=lambda x: isinstance(x, optax.MaskedNode),
    )  # fmt: skip
