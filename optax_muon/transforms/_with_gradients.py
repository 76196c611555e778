"""Operations that look at the raw gradient beside what the chain made of it."""

import dataclasses
from typing import Any

import optax

from optax_muon.linalg.subspace._whitening import GradientOp
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift


def with_gradients(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Show every member of a chain the gradients as they came in, as the extra argument ``gradients``.

    Use it around a chain with `in_diagonal_metric`, `divide_by_gradient_rms` or `apply_with_gradients` behind a
    momentum. A second moment or a whitening behind a momentum is measured on gradients, not on the momentum.

    Args:
        tx: a chain with a member that takes ``gradients``.

    State: that of ``tx``.
    """
    tx = optax.with_extra_args_support(tx)

    def update_fn(updates, state, params=None, **extra_args):
        # A dict union: a chain inside another would otherwise pass ``gradients`` twice.
        return tx.update(updates, state, params, **(extra_args | {"gradients": updates}))

    return optax.GradientTransformationExtraArgs(tx.init, update_fn)


def apply_with_gradients(
    op: GradientOp, *, leaves: Leaves | None = None, placement: Placement | None = None
) -> optax.GradientTransformationExtraArgs:
    """Apply an operation to every matrix of the updates, with the gradient's matrix beside it.

    Put it inside `with_gradients`; without that, the updates themselves are the gradients.

    Args:
        op: `linalg.KroneckerWhitening`, `linalg.OneSidedWhitening` or `linalg.LeadingSubspace`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.

    State: the operation's state.
    """
    lift = Lift(op, leaves, placement)

    def update_fn(updates, state, params=None, *, gradients: Any = None, **extra_args):
        """Apply the operation as it is at this update, gradients beside the updates."""
        del params, extra_args
        seen = updates if gradients is None else gradients
        # Made anew at every update, the count a field of it: a lift hands arrays per matrix to an operation, no
        # scalars.
        now = dataclasses.replace(lift, op=op.at(state.count))
        updates, state, _ = now.apply(updates, state, gradient=seen)
        return updates, state

    return optax.GradientTransformationExtraArgs(lift.init, update_fn)
