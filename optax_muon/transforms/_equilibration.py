"""Even out the vectors of a matrix: one per output, one per input, or both."""

from typing import Any, Literal

import jax.numpy as jnp
import optax
from jaxtyping import Array

from optax_muon._numbers import require_not_negative
from optax_muon._renamed import renamed_arguments
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import hypot
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._reductions import norm_over
from optax_muon.matrices._resolve import Leaves, accepted

ACROSS = {"output": ("reduction",), "reduction": ("output",), "both": ("reduction", "output")}


@renamed_arguments(epsilon="eps")
def equilibrate(
    side: Literal["output", "reduction", "both"],
    *,
    eps: float = 0.0,
    power: float = 0.5,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide every output's vector, every input's, or both at once, by its length.

    Use it before an orthogonaliser (MuonEq), instead of one (RMNP), or after one (Muon+). Where the matrix is
    sharded only the lengths travel.

    .. math::
        Y_{io} = \frac{X_{io}}{(\sum_i X_{io}^2 + \epsilon)^{p}} \quad \text{(output; both: the other factor too,
        of the same } X)

    Args:
        side: whose vectors: ``"output"`` sums over the reduction axes, papers' rows; ``"reduction"`` the other way.
        eps: added to the sums of squares, in squared units of the gradient. With 0 only zero vectors stay short.
        power: p; 1/2 gives unit vectors.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: for an unknown side or a negative eps; by ``init``, naming a leaf that is not a hidden matrix.

    State: none.

    References:
        MuonEq, arXiv 2603.28254; Deng et al., RMNP, arXiv 2603.20527.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> tx = om.transforms.equilibrate("output")
        >>> grads = {"up": {"kernel": jnp.array([[3.0, 0.0], [4.0, 2.0]])}}
        >>> y = tx.update(grads, tx.init(grads))[0]["up"]["kernel"]
        >>> [[round(float(v), 3) for v in row] for row in y]
        [[0.6, 0.0], [0.8, 1.0]]
    """
    if side not in ACROSS:
        raise ValueError(f"equilibrate: side must be one of {', '.join(ACROSS)}, not {side!r}")
    require_not_negative("equilibrate", eps=eps)

    def scaled(path: str, x: Array, leaf: Leaf) -> Array:
        """Even out the matrices of one parameter."""
        y = x.astype(accumulator_dtype(x.dtype))
        for over in ACROSS[side]:
            # hypot: the square of a length may over- or underflow where the length does not.
            length = hypot(norm_over(x, leaf, over), jnp.sqrt(jnp.asarray(eps, jnp.real(y).dtype)))
            # Both sides' lengths are of the same X, not one after the other: the order then does not matter.
            y = y / jnp.where(length == 0, 1, length) ** (2 * power)
        return y.astype(x.dtype)

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Even out every matrix."""
        del params, extra_args
        return map_by_path(scaled, updates, accepted(updates, leaves)), state

    def init_fn(params):
        accepted(params, leaves)  # for its errors alone
        return optax.EmptyState()

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
