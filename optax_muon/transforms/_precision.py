"""A wider dtype inside a transformation than its gradients have."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree


def compute_in(tx: optax.GradientTransformation, dtype: Any = None) -> optax.GradientTransformationExtraArgs:
    """Run a transformation in a wider dtype than its gradients', and give updates in the gradients' own.

    Every named optimizer runs in this with its ``state_dtype``; put it around a chain made by hand, whose averages
    hand on the dtype that they are kept in. An array is widened to what holds its gradient, its parameter and
    ``dtype``, so nothing is rounded between an average and what is made of it; where the three agree nothing is cast.

    Args:
        tx: any transformation; extra arguments reach it as they are.
        dtype: of its averages, its ``accumulator_dtype``; None: the parameters' own.

    State: that of ``tx``, made for parameters of the wider dtype: what has no dtype of its own is kept in that.

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
        return tx.init(_widened(params, dtype))

    def update_fn(updates, state, params=None, **extra_args):
        """Update in the wide dtype, and send back the gradients' own."""
        wide = _widened(updates, dtype) if params is None else _widened(updates, dtype, params)
        beside = None if params is None else _widened(params, dtype, updates)
        moves, state = tx.update(wide, state, beside, **extra_args)
        return promoted(moves, updates), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def promoted(tree: PyTree, *like: PyTree) -> PyTree:
    """Bring every array to the dtype that holds its fellows in ``like``, whatever rates and factors have made of it."""
    return jax.tree.map(lambda x, *ys: _cast(x, jnp.result_type(*(y.dtype for y in ys))), tree, *like)


def _widened(tree: PyTree, dtype: Any, *others: PyTree) -> PyTree:
    """Bring every array to the dtype that also holds its fellows in ``others``, and ``dtype`` if given."""
    kinds = () if dtype is None else (dtype,)

    def wide(x: Array, *ys: Array) -> Array:
        return _cast(x, jnp.result_type(x.dtype, *(y.dtype for y in ys), *kinds))

    return jax.tree.map(wide, tree, *others)


def _cast(x: Array, dtype: Any) -> Array:
    return x if x.dtype == dtype else x.astype(dtype)
