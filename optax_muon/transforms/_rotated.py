"""Elementwise optimizers in rotated coordinates."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info, MatrixOp
from optax_muon.linalg._arithmetic import accumulator_dtype, summable
from optax_muon.linalg.subspace._eigenbasis import KEEP, Basis, from_basis, to_basis
from optax_muon.matrices._leaf import Role
from optax_muon.matrices._resolve import Leaves
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift, LiftState
from optax_muon.transforms._linear_states import LINEAR, map_fields


class RotatedState(NamedTuple):
    """State of `rotated`.

    Attributes:
        bases: the bases' state, by path.
        inner: the inner optimizer's state, in rotated coordinates.
    """

    bases: LiftState
    inner: optax.OptState


def rotated(
    inner: optax.GradientTransformation,
    basis: Basis,
    *,
    skip_first: bool = False,
    linear: Mapping[type, str] = LINEAR,
    roles: tuple[Role, ...] = ("hidden",),
    leaves: Leaves | None = None,
    placement: Placement | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Run an elementwise optimizer in the coordinates of two orthogonal bases.

    Use it to run Adam, Lion or a sign where the gradient's covariance is nearly diagonal.

    .. math::
        U = Q_L \, \text{inner}(Q_L^T G Q_R) \, Q_R^T

    With Adam and `linalg.EigenBasis` it is SOAP, with the sign of an average SPlus, with `linalg.IdentityBasis`
    whatever ``inner`` is. When the bases turn, averages of gradients are re-expressed in the new ones; averages of
    squares cannot be, and stay. Two exchanges between devices a step, and a third when the bases turn.

    Args:
        inner: elementwise; it sees rotated gradients and no parameters.
        basis: `linalg.EigenBasis`, `linalg.RandomBasis` or `linalg.IdentityBasis`.
        skip_first: return zero at the first update, which then only shows the bases what gradients look like.
        linear: state type -> field, of ``inner``'s states that are sums of gradients.
        roles: roles it accepts; any other leaf is an error.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.

    State: the basis's and the inner optimizer's.

    References:
        Vyas et al., SOAP, arXiv 2409.11321; SPlus, arXiv 2506.07254.
    """
    inner = optax.with_extra_args_support(inner)

    def lift(op: MatrixOp) -> Lift:
        """Lift an operation with this transform's leaves and placement."""
        return Lift(op, leaves, placement, roles)

    def init_fn(params):
        bases: Any = lift(_Into(basis)).init(params)
        return RotatedState(bases, inner.init(params))

    def update_fn(updates, state, params=None, **extra_args):
        """Rotate, let the inner optimizer move, rotate back, and let the bases learn from the gradient."""
        del params
        count, bases = state.bases.count, state.bases
        turned, _, _ = lift(_Into(basis)).apply(updates, bases)
        moves, new_inner = inner.update(turned, state.inner, None, **extra_args)
        how = basis.how(count)
        # Back and learning in one lift, so that the raw gradient travels beside the update and not for itself.
        moves, new_bases, _ = lift(_Back(basis, how)).apply(moves, bases, gradient=updates)
        if skip_first:
            first = count == 0
            # A product and not a choice, so that a NaN in the first gradient is seen.
            moves = jax.tree.map(lambda u: u * jnp.where(first, 0, 1).astype(u.dtype), moves)
            new_inner = jax.tree.map(lambda new, old: jnp.where(first, old, new), new_inner, state.inner)
        # An empty group of a partition has no matrices to turn; its state is one placeholder.
        if basis.turns and jax.tree.leaves(updates):
            both = {path: tuple(zip(bases.carries[path], new, strict=True)) for path, new in new_bases.carries.items()}

            def turn(sums: PyTree) -> PyTree:
                """Re-express one tree of sums from the old bases in the new."""
                return lift(_Turn()).apply(sums, LiftState(count, both))[0]

            # In a cond: most steps keep the bases, and are spared the third exchange.
            new_inner = jax.lax.cond(how != KEEP, lambda s: map_fields(turn, s, linear), lambda s: s, new_inner)
        return moves, RotatedState(new_bases, new_inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


@dataclasses.dataclass(frozen=True)
class _Into(MatrixOp):
    """Rotate a matrix into its bases, which stay."""

    real_only: ClassVar[bool] = True
    basis: Basis

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Make the bases' state."""
        return self.basis.init(shape, dtype)

    def apply(self, x: Array, carry: Any, *, key: Array | None = None, **others: Array) -> tuple[Array, Any, Info]:
        """Return ``Q_L^T X Q_R``."""
        del key
        self.check_others(x, others)
        return to_basis(summable(x.astype(accumulator_dtype(x.dtype))), carry).astype(x.dtype), carry, Info()


@dataclasses.dataclass(frozen=True)
class _Back(_Into):
    """Rotate back by the old bases, then let them learn from ``gradient``."""

    takes: ClassVar[tuple[str, ...]] = ("gradient",)
    how: Any = KEEP

    def apply(self, x: Array, carry: Any, *, key: Array | None = None, **others: Array) -> tuple[Array, Any, Info]:
        """Return ``Q_L X Q_R^T`` and the new bases."""
        del key
        self.check_others(x, others)
        y = from_basis(x.astype(accumulator_dtype(x.dtype)), carry).astype(x.dtype)
        return y, self.basis.update(others["gradient"], carry, self.how), Info()


@dataclasses.dataclass(frozen=True)
class _Turn(MatrixOp):
    """Re-express a matrix; the state is a pair of bases, old and new."""

    def init(self, shape: tuple[int, ...], dtype: Any) -> tuple:
        """Raise: its state is put together by hand."""
        raise NotImplementedError("it is given the states of two bases")

    def apply(self, x: Array, carry: Any, *, key: Array | None = None, **others: Array) -> tuple[Array, Any, Info]:
        """Rotate back by the old bases, and into the new."""
        del key
        self.check_others(x, others)
        old, new = carry
        there = to_basis(from_basis(x.astype(accumulator_dtype(x.dtype)), old), new)
        return there.astype(x.dtype), carry, Info()
