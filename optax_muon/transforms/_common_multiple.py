"""A direction brought to the length that fits all leaves together best."""

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import one_if_zero
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import Leaves, cutting_axes


def nearest_common_multiple(
    direction: optax.GradientTransformation, *, leaves: Leaves | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Multiply a direction by the one number that brings it nearest to what came in, all leaves taken together.

    Use it as the compressor of `error_feedback`: it is a contraction. `linalg.NearestMultiple` does this to every
    matrix on its own.

    .. math::
        C(X)_i = \frac{\sum_k \langle X_k, D_k \rangle}{\sum_k \langle D_k, D_k \rangle} D_i

    Args:
        direction: gives D.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    State: the direction's.
    """
    inner = optax.with_extra_args_support(direction)

    def update_fn(updates, state, params=None, **extra_args):
        """Fit the length."""
        found, state = inner.update(updates, state, params, **extra_args)
        arrays, steps, cut = by_path(updates), by_path(found), cutting_axes(updates, leaves)

        def over(x: Array, path: str, reduce) -> Array:
            """Reduce over the devices that have parts of one parameter."""
            return reduce(x, cut[path]) if cut[path] else x

        def total(product) -> Array:
            """Add up a product over all entries of all leaves."""
            sums = [over(jnp.sum(product(path)), path, lax.psum) for path in arrays]
            return sum(sums, start=jnp.zeros([]))

        wide = {path: x.astype(accumulator_dtype(x.dtype)) for path, x in arrays.items()}
        sizes = [over(jnp.max(jnp.abs(x)), path, lax.pmax) for path, x in wide.items() if x.size]
        # In units of the largest entry: the products of entries of 1e30 overflow.
        unit = one_if_zero(jnp.max(jnp.asarray(sizes))) if sizes else jnp.ones([])
        square = total(lambda path: jnp.square(jnp.abs(steps[path].astype(wide[path].dtype))))
        along = total(lambda path: jnp.real(wide[path] / unit * jnp.conj(steps[path])))
        multiple = along / jnp.where(square == 0, 1, square)
        return jax.tree.map(lambda x: (x * multiple * unit).astype(x.dtype), found), state

    return optax.GradientTransformationExtraArgs(inner.init, update_fn)
