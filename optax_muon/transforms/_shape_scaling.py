"""Scale an update by a number that depends on the shape of its matrices alone."""

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon.matrices._labels import Leaves, findings
from optax_muon.matrices._leaf import Leaf, map_matrices, matrix_shapes
from optax_muon.matrices._paths import map_by_path
from optax_muon.shapes import ShapeScale


def scale_by_shape(scale: ShapeScale, *, leaves: Leaves | None = None) -> optax.GradientTransformationExtraArgs:
    """Multiply every matrix by ``scale.factor(reduction, output)``, its own fan-in and fan-out.

    Args:
        scale: an object of `optax_muon.shapes`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    State: none.
    """

    def scaled(path: str, x: Array, found) -> Array:
        leaf: Leaf = found.leaf
        factors = {scale.factor(reduction, output) for _, reduction, output in matrix_shapes(x.shape, leaf)}
        if len(factors) == 1:
            return x * jnp.asarray(factors.pop(), x.dtype)
        return map_matrices(lambda stack: stack * jnp.asarray(scale.factor(*stack.shape[1:]), x.dtype), x, leaf)

    def update_fn(updates, state, params=None, **extra_args):
        del params, extra_args
        return map_by_path(scaled, updates, findings(updates, leaves)), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)
