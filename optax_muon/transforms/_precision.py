"""A wider dtype inside a transformation than its gradients have."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.matrices._check_state import check_gradients, check_state
from optax_muon.matrices._paths import by_path


def compute_in(tx: optax.GradientTransformation, dtype: Any = None) -> optax.GradientTransformationExtraArgs:
    """Run a transformation in a wider dtype than its gradients', and give updates in the gradients' own.

    Every named optimizer runs in this with its ``state_dtype``; put it around a chain made by hand, whose averages
    hand on the dtype that they are kept in. An array is widened to what holds its gradient, its parameter and
    ``dtype``, so nothing is rounded between an average and what is made of it; where the three agree nothing is cast.
    The state keeps the dtypes that ``init`` gave it, whatever gradients come: `jax.lax.scan` asks for that, and
    `jax.jit` compiles a second time without it.

    Args:
        tx: any transformation; extra arguments reach it as they are.
        dtype: of its averages, its ``accumulator_dtype``; None: the parameters' own.

    State: that of ``tx``, made for parameters of the wider dtype: what has no dtype of its own is kept in that.

    Raises:
        TypeError: by ``init``, naming a complex parameter where ``dtype`` is real.
        ValueError: by ``update``, naming a parameter whose gradient is missing or of another shape.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> grads = {"up": jnp.ones((2, 2), jnp.bfloat16)}
        >>> tx = om.transforms.compute_in(optax.ema(0.9, accumulator_dtype=jnp.float32), jnp.float32)
        >>> updates, state = tx.update(grads, tx.init(grads))
        >>> updates["up"].dtype.name, state.ema["up"].dtype.name
        ('bfloat16', 'float32')
    """
    tx = optax.with_extra_args_support(tx)

    def init_fn(params):
        _require_room(params, dtype)
        return tx.init(_widened(params, dtype))

    def update_fn(updates, state, params=None, **extra_args):
        """Update in the wide dtype; send back the gradients' own, and the state in the dtypes it had."""
        if params is not None:
            check_gradients(updates, params)
        wide = _widened(updates, dtype) if params is None else _widened(updates, dtype, params)
        beside = None if params is None else _widened(params, dtype, updates)
        try:
            moves, after = tx.update(wide, state, beside, **extra_args)
        except (AttributeError, TypeError, ValueError):
            # Without parameters the state alone tells what gradients there should be.
            if params is None:
                check_state(optax.GradientTransformation(init_fn, tx.update), updates, state)
            raise
        _require_shapes(moves, updates)
        return promoted(moves, updates), _kept(after, state)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def promoted(tree: PyTree, *like: PyTree) -> PyTree:
    """Bring every array to the dtype that holds its fellows in ``like``, whatever rates and factors have made of it."""
    return jax.tree.map(lambda x, *ys: _cast(x, jnp.result_type(*map(_dtype, ys))), tree, *like)


def _widened(tree: PyTree, dtype: Any, *others: PyTree) -> PyTree:
    """Bring every array to the dtype that also holds its fellows in ``others``, and ``dtype`` if given."""
    kinds = () if dtype is None else (dtype,)

    def wide(x: Array, *ys: Array) -> Array:
        return _cast(x, jnp.result_type(_dtype(x), *map(_dtype, ys), *kinds))

    return jax.tree.map(wide, tree, *others)


def _kept(after: PyTree, before: PyTree) -> PyTree:
    """Bring a state to the dtypes it had; one of another structure stays as it is."""
    if jax.tree.structure(after) != jax.tree.structure(before):
        return after

    def kept(x: Array, old: Any) -> Array:
        """Bring one array to the dtype it had, that of a checkpoint's NumPy array in JAX's own width."""
        return _cast(x, jnp.result_type(old)) if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else x

    return jax.tree.map(kept, after, before)


def _require_room(params: PyTree, dtype: Any) -> None:
    """Raise where a real state would lose the imaginary parts of a complex parameter."""
    if dtype is None or jnp.issubdtype(dtype, jnp.complexfloating):
        return
    for path, x in by_path(params).items():
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            raise TypeError(f"{path}: {x.dtype} has no room in {jnp.dtype(dtype).name}; leave the state's dtype None")


def _require_shapes(moves: PyTree, updates: PyTree) -> None:
    """Raise where an update is not shaped like its gradient, which was then spread over a state of another shape."""
    given = by_path(updates)
    for path, x in by_path(moves).items():
        if path in given and x.shape != given[path].shape:
            raise ValueError(f"{path}: gradient {given[path].shape}, where its state is for {x.shape}")


def _dtype(x: Array) -> Any:
    """Give an array's dtype in JAX's width: asking for a NumPy array's float64 by name warns without x64."""
    return jax.dtypes.canonicalize_dtype(x.dtype)


def _cast(x: Array, dtype: Any) -> Array:
    return x if x.dtype == dtype else x.astype(dtype)
