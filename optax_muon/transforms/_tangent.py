"""The part of an update that turns the weights and does not stretch them."""

from typing import Any, Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import Side, norm_over, sum_over, unit_over
from optax_muon.matrices._resolve import Leaves, accepted

OVER: dict[str, Side] = {"output": "reduction", "reduction": "output", "both": "both"}
ROUNDING = 16  # times the dtype's own: what is shorter than that is what cancellation has left


def tangent_to_weights(
    side: Literal["output", "reduction", "both"], *, leaves: Leaves | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Take from every vector of an update its part along the weights' vector.

    Use it where lengths of weights shall not change, or do not matter: Nora, Mano, hyperspherical descent.

    .. math::
        U_o = X_o - \langle X_o, w_o \rangle w_o, \qquad w_o = W_o / \|W_o\| \quad (\text{output; reduction: per input;
        both: the matrix as one vector})

    Args:
        side: whose vectors: ``"output"`` has one along the reduction axes for each output.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    A vector of one entry has nothing but length, so nothing is left of its update; beside a vector of zeros everything
    is. Rounding is left out: what is shorter than a few units of it counts as zero, or a normalisation behind this
    stage would bring noise to full size.

    Raises:
        ValueError: for an unknown side; by ``init``, naming a leaf that is not a hidden matrix; by ``update``, without
            parameters.

    State: none.

    References:
        Nora, arXiv 2605.03769; Mano, arXiv 2601.23000.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> tx = om.transforms.tangent_to_weights("output")
        >>> grads, params = {"w": jnp.array([[3.0], [4.0]])}, {"w": jnp.array([[2.0], [0.0]])}
        >>> tx.update(grads, tx.init(params), params)[0]["w"].tolist()
        [[0.0], [4.0]]
    """
    if side not in OVER:
        raise ValueError(f"tangent_to_weights: side must be one of {', '.join(OVER)}, not {side!r}")
    over = OVER[side]

    def tangent(path: str, x: Array, w: Array, leaf: Leaf) -> Array:
        """Project the matrices of one parameter."""
        wide = x.astype(jnp.promote_types(accumulator_dtype(x.dtype), accumulator_dtype(w.dtype)))
        unit = unit_over(w, leaf, over).astype(wide.dtype)
        left = wide
        # Twice: what the first pass leaves of the part along the weights is rounding of the whole, not of the rest.
        for _ in range(2):
            left = left - sum_over(jnp.real(left * jnp.conj(unit)), leaf, over).astype(wide.dtype) * unit
        noise = ROUNDING * float(jnp.finfo(wide.dtype).eps) * norm_over(wide, leaf, over)
        return jnp.where(norm_over(left, leaf, over) <= noise, 0, left).astype(x.dtype)

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Project every matrix."""
        del extra_args
        if params is None:
            raise ValueError("tangent_to_weights needs the parameters: call update(grads, state, params)")
        return map_by_path(tangent, updates, by_path(params), accepted(updates, leaves)), state

    def init_fn(params):
        accepted(params, leaves)  # for its errors alone
        return optax.EmptyState()

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
