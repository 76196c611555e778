"""Steepest descent under the largest of all matrices' norms: every matrix steps by the sum of the dual norms."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from optax_muon.matrices._resolve import Leaves
from optax_muon.norms import Norm, Oracle
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift


def scale_by_total_dual(
    norm: Norm, *, leaves: Leaves | None = None, placement: Placement | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Step every matrix along its oracle by the sum of the dual norms of all of them.

    Use it where all layers should slow down together as the gradient vanishes. The norm of the whole tree is the
    largest among its matrices; its dual is the sum, which couples the leaves.

    .. math::
        U_i = \Big( \sum_k \langle X_k, \operatorname{lmo}(X_k) \rangle \Big) \operatorname{lmo}(X_i)

    On one matrix it is ``scale_by_lmo(norm, norms.DualPower(1))``.

    Args:
        norm: an object of `optax_muon.norms`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.

    State: none.

    Raises:
        ValueError: naming a leaf that is not a hidden matrix.

    References:
        Crawshaw et al., arXiv 2510.09827.
    """
    lift = Lift(Oracle(norm), leaves, placement)

    def init_fn(params):
        lift.init(params)  # for its checks alone: an oracle has no state
        return optax.EmptyState()

    def update_fn(updates, state, params=None, **extra_args):
        """Take every oracle's step, times the sum of all duals."""
        del params, extra_args
        directions, _, done = lift.apply(updates, state)
        # From the oracle's own pairings: no norm is decomposed, and every leaf gets the same number.
        total: Any = sum(jnp.sum(info.dual) for result in done.values() for info in result.infos)
        return jax.tree.map(lambda x: (total * x).astype(x.dtype), directions), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
