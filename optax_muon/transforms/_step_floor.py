"""Steps that are at least a given share of the weights."""

from typing import Any, Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon._numbers import require_not_negative
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import norm_over, unit_over
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.transforms._tangent import OVER


def floor_steps(
    floor: Number, *, side: Literal["both", "output", "reduction"] = "both", leaves: Leaves | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Lengthen every update that is short beside the weights; longer ones stay as they are.

    Use it before the weight decay and the learning rate, with a small decay: it keeps steps in proportion to weights
    that have grown, which decay otherwise does. `scale_by_matrix_trust_ratio` makes all steps proportional, and has no
    sides.

    .. math::
        U_k = X_k \max\left( 1, \frac{f \|W_k\|}{\|X_k\|} \right) \quad (k: \text{the matrix, or every output, or
        every input})

    Args:
        floor: f, the least ratio of a step to its weights, before the learning rate; 0.35 in the speedrun.
        side: ``"both"`` measures whole matrices, ``"output"`` every output's vector by itself.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    A zero update stays zero.

    Raises:
        ValueError: for a negative floor or an unknown side; by ``init``, naming a leaf that is not a hidden matrix; by
            ``update``, without parameters.

    State: none.

    References:
        github.com/KellerJordan/modded-nanogpt, track 3, pull requests 274 (matrices) and 328 (outputs).

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> tx = om.transforms.floor_steps(0.5)
        >>> updates, params = {"w": jnp.array([[0.1, 0.0]])}, {"w": jnp.array([[0.0, 2.0]])}
        >>> tx.update(updates, tx.init(params), params)[0]["w"].tolist()
        [[1.0, 0.0]]
    """
    require_not_negative("floor_steps", floor=floor)
    if side not in OVER:
        raise ValueError(f"floor_steps: side must be one of {', '.join(OVER)}, not {side!r}")
    over = OVER[side]

    def lengthened(path: str, x: Array, w: Array, leaf: Leaf) -> Array:
        """Lengthen what is short of one parameter."""
        wide = x.astype(jnp.promote_types(accumulator_dtype(x.dtype), accumulator_dtype(w.dtype)))
        length = norm_over(wide, leaf, over)
        least = jnp.asarray(floor, length.dtype) * norm_over(w, leaf, over).astype(length.dtype)
        # What is long enough stays to the bit.
        return jnp.where(length >= least, wide, unit_over(wide, leaf, over) * least).astype(x.dtype)

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Lengthen what is short of every matrix."""
        del extra_args
        if params is None:
            raise ValueError("floor_steps needs the parameters: call update(grads, state, params)")
        return map_by_path(lengthened, updates, by_path(params), accepted(updates, leaves)), state

    def init_fn(params):
        accepted(params, leaves)  # for its errors alone
        return optax.EmptyState()

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
