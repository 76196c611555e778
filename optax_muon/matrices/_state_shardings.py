"""Shardings of an optimizer's state."""

from typing import Any

import jax
import optax
from jaxtyping import PyTree

from optax_muon.matrices._cut_state import cut_spec, known_axes
from optax_muon.matrices._paths import by_path


def state_shardings(
    tx: optax.GradientTransformation, params: PyTree, shardings: PyTree, *, inside: bool = False
) -> PyTree:
    """Give every leaf of ``tx.init(params)`` its sharding, without running it.

    State shaped like a parameter is sharded as that parameter is, and so is what is kept of its rows, columns or
    matrices, such as a mean square per output: axes that are left of the parameter keep their sharding. What is larger,
    such as a Kronecker factor, is cut over the axes that shard the parameter, the Explicit ones where a mesh has both
    kinds. Everything else is replicated over the same mesh. On an Auto mesh ``jax.jit(tx.init)`` forgets shardings, so
    pass the result as ``out_shardings``.

    Args:
        tx: the optimizer.
        params: arrays or `jax.ShapeDtypeStruct` objects.
        shardings: a tree like ``params`` of `jax.sharding.NamedSharding`.
        inside: give what holds inside the caller's own `jax.shard_map`, where factors are whole on every device.

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

    shapes = {path: x.shape for path, x in by_path(params).items()}

    def beside(at: tuple[Any, ...], x: Any) -> Any:
        """Choose the sharding of a state that is no parameter's twin."""
        path, is_stack = _owner(at, shapes)
        if path is not None and is_stack and not inside:
            cut = cut_spec(x.shape, known_axes(table[path].spec, mesh), shapes[path], dict(mesh.shape))
            return jax.sharding.NamedSharding(mesh, cut)
        if path is None or is_stack or not _is_reduced(x.shape, shapes[path]):
            return replicated
        spec = table[path].spec
        kept = [entry if n > 1 else None for entry, n in zip(spec, x.shape, strict=False)]
        return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*kept))

    state = jax.eval_shape(tx.init, params)
    marked = optax.tree.map_params(
        tx, place, state, params, shardings,
        transform_non_params=lambda x: jax.tree.map(lambda _: None, x),
        is_leaf=lambda x: isinstance(x, optax.MaskedNode),
    )  # fmt: skip
    found = dict(jax.tree_util.tree_leaves_with_path(marked, is_leaf=lambda x: isinstance(x, jax.sharding.Sharding)))
    return jax.tree_util.tree_map_with_path(lambda at, x: found.get(at) or beside(at, x), state)


def _owner(at: tuple[Any, ...], shapes: dict[str, Any]) -> tuple[str | None, bool]:
    """Give the parameter by whose path a state is kept, and whether it is one of stacks of matrices.

    These `transforms.Lift` keeps in a tuple, whatever their shape; dictionaries of `_reductions` have arrays.
    """
    keys = [getattr(key, "key", None) for key in at]
    found = [i for i, key in enumerate(keys) if isinstance(key, str) and key in shapes]
    if not found:
        return None, False
    return keys[found[-1]], any(isinstance(key, jax.tree_util.SequenceKey) for key in at[found[-1] :])


def _is_reduced(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Tell whether a shape is a parameter's with some axes reduced to length one."""
    return len(shape) == len(whole) and all(n in (1, m) for n, m in zip(shape, whole, strict=True))
