"""Scale an update by a number that depends on the shape of its matrices alone."""

import functools
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon.matrices._leaf import Leaf, matrix_shapes
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._reductions import factors_over
from optax_muon.matrices._resolve import Leaves, resolved
from optax_muon.matrices._shard_view import whole_shape
from optax_muon.shapes import ShapeScale


def scale_by_shape(scale: ShapeScale, *, leaves: Leaves | None = None) -> optax.GradientTransformationExtraArgs:
    """Multiply every matrix by ``scale.factor(reduction, output)``, its own fan-in and fan-out.

    Args:
        scale: an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    State: none.
    """

    def update_fn(updates, state, params=None, **extra_args):
        del params, extra_args

        @functools.cache  # a model has a few shapes, and every constant costs time while tracing
        def factor(m: int, n: int, dtype: Any) -> Array:
            return jnp.asarray(scale.factor(m, n), dtype)

        def scaled(path: str, x: Array, leaf: Leaf) -> Array:
            del path
            sizes = matrix_shapes(whole_shape(x.shape, leaf), leaf)
            if len(sizes) == 1:
                return x * factor(*sizes[0][1:], x.dtype)
            # An uneven split: one factor for each part of the array.
            return x * jnp.asarray(factors_over(scale, x.shape, leaf), x.dtype)

        return map_by_path(scaled, updates, resolved(updates, leaves)), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)
