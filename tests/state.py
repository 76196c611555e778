"""Counts the bytes of an optimizer's state, for what docstrings promise."""

import math

import jax
import jax.numpy as jnp
import optax


def floats_per_parameter(tx: optax.GradientTransformation, params) -> float:
    """Floating-point numbers of state for each parameter; counts and other integers are left out."""
    state = jax.eval_shape(tx.init, params)
    floats = sum(math.prod(x.shape) for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact))
    return floats / sum(x.size for x in jax.tree.leaves(params))
