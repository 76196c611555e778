"""The named axis whose indices are workers, each with parameters, gradients and a state of its own."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, PyTree

from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._resolve import Leaves, findings
from optax_muon.matrices._shard_view import bound_axes, gathered, vary, varying_axes

AxisName = str | tuple[str, ...] | None


def worker_count(axis_name: AxisName, owner: str) -> int:
    """Give the number of workers, one without an axis.

    Raises:
        ValueError: where no map around this code has the axis.
    """
    if axis_name is None:
        return 1
    try:
        return int(lax.axis_size(axis_name))
    except NameError as error:
        raise ValueError(
            f"{owner}: there is no axis {axis_name!r} around this update; call it inside jax.shard_map over a mesh "
            "with that axis, or inside jax.vmap(axis_name=...) to simulate workers, or leave axis_name None for one "
            "worker"
        ) from error


def mean_over_workers(tree: PyTree, axis_name: AxisName, owner: str) -> PyTree:
    """Average every array over the workers; all then count as having the same."""
    if worker_count(axis_name, owner) == 1:
        return tree if axis_name is None else jax.tree.map(lambda x: lax.pmean(x, axis_name), tree)

    def mean(x: Array) -> Array:
        # Added up in float32: a sum of many bfloat16 numbers would lose those of the last workers.
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return lax.pmean(x.astype(wide), axis_name).astype(x.dtype)

    return jax.tree.map(mean, tree)


def from_all_workers(x: Array, axis_name: AxisName) -> Array:
    """Collect an array of every worker, (workers, ...); all then count as having the same."""
    names = (axis_name,) if isinstance(axis_name, str) else axis_name
    return gathered(x, names or ())


def own(tree: PyTree, axis_name: AxisName) -> PyTree:
    """Let arrays count as differing between workers, as those that are made of a worker's gradient will."""
    return vary(tree, _bound(axis_name))


def shared_zeros(params: PyTree, axis_name: AxisName, dtype: Any = None) -> PyTree:
    """Make zeros like parameters that count as the same on all workers, and differ where the parameters do else."""

    def zeros(x: Array) -> Array:
        return vary(jnp.zeros(x.shape, dtype or x.dtype), varying_axes(x) - _bound(axis_name))

    return jax.tree.map(zeros, params)


def own_matrices(leaves: Leaves | None, axis_name: AxisName) -> Leaves | None:
    """Say of parameters that differ between workers alone that each worker has whole matrices of its own.

    A leaf with a spec keeps it, and so says how a worker's own matrices are cut over further axes.
    """
    if axis_name is None:
        return leaves
    return _OwnMatrices(leaves, axis_name)


@dataclasses.dataclass(frozen=True)
class _OwnMatrices:
    """Leaves as a worker sees them; compared by what made them, so that a partition finds them again."""

    leaves: Leaves | None
    axis_name: AxisName

    def __call__(self, params: PyTree) -> PyTree:
        """Give a tree of leaves like ``params``."""
        bound = {name for name, size in bound_axes().items() if size > 1}
        workers = _bound(self.axis_name)
        # Where `jax.shard_map` keeps the account, a device's own number differs along its axis.
        told = bool(bound) and bool(varying_axes(lax.axis_index(next(iter(bound)))))

        def seen(path: str, x: Any, found: Any) -> Leaf:
            """Give one parameter's leaf, with the spec of a whole matrix where it is one."""
            leaf = dataclasses.replace(found.leaf, why=found.reason, assumed=found.assumed)
            _require_no_cut(path, leaf, workers)
            is_whole = bound and not (varying_axes(x) if told else bound) - workers
            return (
                dataclasses.replace(leaf, spec=jax.sharding.PartitionSpec()) if is_whole and leaf.spec is None else leaf
            )

        return map_by_path(seen, params, findings(params, self.leaves))


def _require_no_cut(path: str, leaf: Leaf, workers: frozenset[str]) -> None:
    """Raise where a spec cuts one matrix over workers."""
    entries = () if leaf.spec is None else tuple(getattr(leaf.spec, "spec", leaf.spec))
    named = {name for entry in entries for name in ((entry,) if isinstance(entry, str) else entry or ())}
    if named & workers:
        raise ValueError(
            f"{path}: its spec {leaf.spec} cuts it over the workers' axis {', '.join(sorted(named & workers))}; every "
            "worker has a whole matrix of its own, so the spec names the axes within a worker alone"
        )


def _bound(axis_name: AxisName) -> frozenset[str]:
    """Give those of the workers' axes that a `jax.shard_map` around this code has."""
    names = {axis_name} if isinstance(axis_name, str) else set(axis_name or ())
    return frozenset(names & bound_axes().keys())


def own_state(tx: optax.GradientTransformation, axis_name: AxisName) -> optax.GradientTransformation:
    """Let a state count as a worker's own from the first, where the parameters are common to all.

    Use it around a momentum of a worker's own gradients: `jax.lax.scan` asks for a state of one type.

    Args:
        tx: the transformation.
        axis_name: the workers' axis; None: one worker, and ``tx`` as it is.

    State: that of ``tx``.
    """
    if axis_name is None:
        return tx
    inner = optax.with_extra_args_support(tx)

    def init_fn(params):
        return own(inner.init(own(params, axis_name)), axis_name)

    return optax.GradientTransformationExtraArgs(init_fn, inner.update)
