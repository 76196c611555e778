"""Steps that keep every matrix of weights at its length."""

from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon._numbers import is_known, require_not_negative
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import factors_over, norm_over, unit_over
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.shapes import ShapeScale
from optax_muon.transforms._directions import require_directions


def keep_norm(
    outward: Number = 0.0,
    inward: Number = 0.0,
    *,
    radius: ShapeScale | None = None,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Change the update so that every matrix of weights keeps its Frobenius norm, or changes it only by a share.

    Put it last, after the learning rate, and leave weight decay out. With steps in proportion to the weights before it,
    a learning rate is an angle (Hyperball, `hyperball`); with a share of 1/2 outward and 1 inward it is a radial brake.

    .. math::
        W' = W + U, \qquad U' = W' \, \frac{R + f (\|W'\|_F - R)}{\|W'\|_F} - W, \qquad R = \|W\|_F

    Args:
        outward: f where the matrix would grow, 0 or more; 1 leaves the update as it is.
        inward: f where it would shrink.
        radius: R as a factor of the matrix's shape, in units of the weights; None: the present norm. Over very many
            steps of bfloat16 weights the present norm drifts by rounding and a given one does not. Weights that start
            elsewhere are brought to it by the first update.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    A matrix of zeros has no norm to keep, and stays zero without a radius or a share outward: initialise such layers
    otherwise, or give them to another optimizer.

    Raises:
        ValueError: for a negative share; by ``init``, naming a leaf that is not a hidden matrix or, outside `jax.jit`,
            one with a matrix of zeros that would stay; by ``update``, without parameters.

    State: none.

    References:
        Hyperball, arXiv 2606.16899.
    """
    require_not_negative("keep_norm", outward=outward, inward=inward)

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Bring the weights after the update to the norm that they may have."""
        del extra_args
        if params is None:
            raise ValueError("keep_norm needs the parameters: call update(grads, state, params)")

        def step(path: str, u: Array, w: Array, leaf: Leaf) -> Array:
            """Return one parameter's way to where it may go."""
            wide = jnp.promote_types(accumulator_dtype(w.dtype), accumulator_dtype(u.dtype))
            before = w.astype(wide)
            after = before + u.astype(wide)
            now = norm_over(after, leaf)
            kept = (
                norm_over(before, leaf)
                if radius is None
                else jnp.asarray(factors_over(radius, w.shape, leaf), now.dtype)
            )
            grown = now - kept
            share = jnp.where(grown > 0, jnp.asarray(outward, now.dtype), jnp.asarray(inward, now.dtype))
            # A matrix that the update sends to zero has no direction left, and stays where it is.
            return jnp.where(now == 0, 0, unit_over(after, leaf) * (kept + share * grown) - before).astype(u.dtype)

        return map_by_path(step, updates, by_path(params), accepted(updates, leaves)), state

    def init_fn(params):
        table = accepted(params, leaves)
        if radius is None and is_known(outward) and outward == 0:
            require_directions("keep_norm", params, table)
        return optax.EmptyState()

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
