"""Evaluation parameters, for optimizers that take gradients elsewhere."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array, PyTree

from optax_muon.matrices._paths import by_path, map_by_path


def eval_params(state: optax.OptState, params: PyTree) -> PyTree:
    """Return the parameters at which a model is to be evaluated and shipped.

    Call it before every evaluation and before a model is saved for use; it costs nothing where it changes nothing. They
    differ from the trained ones for schedule-free averages, gradient transport, SPlus's average of parameters and
    optax's own `optax.contrib.schedule_free`; for every other optimizer ``params`` comes back as it is. States inside
    `optax.chain`, partitions, masks, `optax.MultiSteps` and `optax.inject_hyperparams` are found; of two nested
    averages the outer one counts.

    Args:
        state: the optimizer's state.
        params: the parameters being trained.

    Returns:
        A tree like ``params``, in their dtypes.

    Example:
        >>> import jax.numpy as jnp, optax, optax_muon as om
        >>> tx = optax.contrib.schedule_free(optax.sgd(0.1), 0.1)
        >>> params = {"bias": jnp.ones(2)}
        >>> om.eval_params(tx.init(params), params)["bias"].tolist()
        [1.0, 1.0]
    """
    # Outer states come first, and what one has moved its inner ones do not show any more: they are inside a leaf.
    for node in jax.tree.leaves(state, is_leaf=_moves):
        if isinstance(node, optax.contrib.ScheduleFreeState):
            # Solved here, for the parameters that the state holds: in a partition the others are masked.
            b1 = number(node.b1)
            params = overlay(lambda y, z, b1=b1: (y - (1 - b1) * z) / b1, params, node.z)
        elif _moves(node):
            params = node.eval_params(params)
    return params


def overlay(f: Callable[..., Array], params: PyTree, *trees: PyTree) -> PyTree:
    """Put ``f(p, *entries)`` in place of every parameter that the trees hold; masked ones stay, dtypes too."""
    tables = [by_path(tree) for tree in trees]

    def visit(path: str, p: Array) -> Array:
        """Replace one parameter, if the trees hold it."""
        entries = [table[path] for table in tables if path in table]
        return f(p, *entries).astype(p.dtype) if entries else p

    return map_by_path(visit, params)


def number(x: Any) -> Any:
    """Unwrap a scalar of a state, which `flax.nnx.Optimizer` keeps in a variable."""
    return jax.tree.leaves(x)[0]


def _moves(node: Any) -> bool:
    """Tell a state that knows other parameters to evaluate at."""
    return isinstance(node, optax.contrib.ScheduleFreeState) or callable(getattr(node, "eval_params", None))
