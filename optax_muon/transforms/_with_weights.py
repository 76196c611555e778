"""Operations that look at the weights beside what the chain made of their gradients."""

from typing import Any

import optax

from optax_muon.linalg import MatrixOp
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift


def apply_with_weights(
    op: MatrixOp, *, leaves: Leaves | None = None, placement: Placement | None = None
) -> optax.GradientTransformationExtraArgs:
    """Apply an operation to every matrix of the updates, with the matrix of weights beside it.

    Use it for directions that depend on where the weights are, and put it before the learning rate. On a mesh the
    weights travel to where the matrix is computed, as the gradient does; `placement_report` counts both.

    Args:
        op: `linalg.Constrained`, or any `MatrixOp` that takes ``weights``.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.

    State: the operation's state.

    Raises:
        ValueError: by ``init``, naming a leaf that is not a hidden matrix; by ``update``, without parameters.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> op = om.linalg.Constrained(om.linalg.Stiefel(), om.linalg.SVDPolar())
        >>> tx = om.transforms.apply_with_weights(op)
        >>> grads, params = {"w": jnp.array([[1.0, 2.0], [0.0, 1.0]])}, {"w": jnp.eye(2)}
        >>> tx.update(grads, tx.init(params), params)[0]["w"].round(3).tolist()  # a turn
        [[0.0, 1.0], [-1.0, 0.0]]
    """
    lift = Lift(op, leaves, placement)

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Apply the operation, weights beside the updates where it takes them."""
        del extra_args
        if "weights" in op.takes and params is None:
            raise ValueError("apply_with_weights needs the parameters: call update(grads, state, params)")
        others = {"weights": params} if "weights" in op.takes else {}
        updates, state, _ = lift.apply(updates, state, **others)
        return updates, state

    return optax.GradientTransformationExtraArgs(lift.init, update_fn)
