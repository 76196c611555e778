"""Updates that bring the weights back to where they are allowed to be."""

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon import shapes
from optax_muon.linalg import MatrixOp, SpectralMap
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import factors_over
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift


def project_weights(
    projection: SpectralMap | MatrixOp,
    *,
    shape_scale: shapes.ShapeScale = shapes.Constant(1.0),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    placement: Placement | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Change the update so that the weights after it are projected.

    Put it last, after the learning rate. With `linalg.SpectralClip`, `SoftCap`, `SpectralNormalize`, `Hammer` ... and
    ``shapes.Spectral()`` every layer keeps its RMS-to-RMS norm under the cap, and the network its Lipschitz constant.

    .. math::
        U' = c(\text{shape}) \, P\big( (W + U) / c(\text{shape}) \big) - W

    Args:
        projection: P, a map of `optax_muon.linalg`.
        shape_scale: c, in whose units the projection sees the weights.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the projection runs; None: `OverMesh()`, on the local device where there is no mesh.

    Raises:
        ValueError: by ``init``, naming a leaf that is not a hidden matrix; by ``update``, without parameters.

    State: that of the projection, none for a `SpectralMap`.

    References:
        Newhouse et al., Training Transformers with Enforced Lipschitz Constants, arXiv 2507.13338.
    """
    lift = Lift(projection, leaves, placement)

    def update_fn(updates, state, params=None, **extra_args):
        """Project the weights after the update, and return what leads there."""
        del extra_args
        if params is None:
            raise ValueError("project_weights needs the parameters: call update(grads, state, params)")
        table = lift.resolve(updates)

        def moved(path: str, u: Array, w: Array, leaf: Leaf) -> Array:
            """Return one parameter after the update, in units of its scale."""
            wide = accumulator_dtype(w.dtype)
            return (w.astype(wide) + u.astype(wide)) / jnp.asarray(factors_over(shape_scale, w.shape, leaf), wide)

        def step(path: str, y: Array, w: Array, leaf: Leaf) -> Array:
            """Return the way from the old weights to the projected ones."""
            return y * jnp.asarray(factors_over(shape_scale, w.shape, leaf), y.dtype) - w.astype(y.dtype)

        weights = by_path(params)
        # One lift for the whole tree: the weights travel once each way, as a momentum does.
        allowed, state, _ = lift.apply(map_by_path(moved, updates, weights, table), state)
        return optax.tree.cast_like(map_by_path(step, allowed, weights, table), updates), state

    return optax.GradientTransformationExtraArgs(lift.init, update_fn)
