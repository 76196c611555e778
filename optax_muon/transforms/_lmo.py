"""Steps along the oracle of a norm."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Leaf, Role
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._reductions import factors_over, sum_over, unit_over
from optax_muon.matrices._resolve import Leaves, findings
from optax_muon.norms import Fixed, Norm, Oracle
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift


def scale_by_lmo(
    norm: Norm,
    radius: Any = 1.0,
    *,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    roles: tuple[Role, ...] = ("hidden",),
) -> optax.GradientTransformationExtraArgs:
    r"""Replace every matrix by the point of a norm's ball that goes furthest along it.

    Use it in a chain of your own, with any norm and any radius.

    .. math::
        U = \rho(d) \operatorname{lmo}(X), \qquad d = \langle X, \operatorname{lmo}(X) \rangle

    A `norms.Radius` makes the step depend on the dual norm d: ``norms.DualPower(1)`` is steepest descent. An oracle
    that only normalises (`norms.Max`, `norms.AxisNorm`, `norms.Frobenius` and what is made of them) runs on the shards:
    a sharded embedding or head is never gathered.

    Args:
        norm: an object of `optax_muon.norms`.
        radius: rho, a positive number or a `norms.Radius`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.
        roles: roles it accepts; any other leaf is an error. A vector without axes is one matrix (1, size).

    State: none.

    Raises:
        ValueError: for a radius that is not positive, or naming a leaf of another role.

    References:
        Pethick et al., Scion, arXiv 2502.07529; Riabinin et al., Gluon, arXiv 2505.13416.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> tx = om.transforms.scale_by_lmo(om.norms.Max(), 0.5)
        >>> grads = {"up": {"kernel": jnp.array([[3.0, -2.0]])}}
        >>> tx.update(grads, tx.init(grads))[0]["up"]["kernel"].tolist()
        [[0.5, -0.5]]
    """
    oracle = Oracle(norm, radius)
    lift = Lift(oracle, functools.partial(with_vector_axes, leaves=leaves), placement, roles)

    def init_fn(params):
        lift.init(params)  # for its checks alone: an oracle has no state
        return optax.EmptyState()

    def update_fn(updates, state, params=None, **extra_args):
        """Step along every matrix, on the shards where the oracle allows it."""
        del params, extra_args
        if norm.normalization is None:
            return lift.apply(updates, state)[0], state
        return map_by_path(
            lambda path, x, leaf: normalize_in_place(oracle, x, leaf), updates, lift.resolve(updates)
        ), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def normalize_in_place(oracle: Oracle, x: Array, leaf: Leaf) -> Array:
    """Step along every matrix of ``x`` by an oracle that only normalises, without moving or reshaping it.

    The result has shape and dtype of ``x``.
    """
    how = oracle.norm.normalization
    assert how is not None
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{type(oracle.norm).__name__} takes floating-point arrays, not {x.dtype}: cast them first")
    wide = x.astype(accumulator_dtype(x.dtype))
    # Every entry over its own size is its sign, without a division by zero.
    y = jnp.sign(wide) if how.over == "entry" else unit_over(wide, leaf, how.over)
    y = y * jnp.asarray(factors_over(how, x.shape, leaf), jnp.finfo(wide.dtype).dtype)
    # No pairing needed, so a sharded parameter pays no second reduction.
    if isinstance(oracle.radius, Fixed):
        return (oracle.radius.radius * y).astype(x.dtype)
    dual = sum_over(jnp.real(jnp.conj(wide) * y), leaf)
    return (oracle.radius.at(dual) * y).astype(x.dtype)


def with_vector_axes(params: PyTree, leaves: Leaves | None = None) -> PyTree[Leaf]:
    """Return the leaves of ``params``; those without axes get all of theirs as output, one matrix (1, size) each."""

    def completed(path, x, found):
        """Return the leaf, with all axes as output where it had none."""
        leaf: Leaf = found.leaf
        return leaf if leaf.output else dataclasses.replace(leaf, output=tuple(range(x.ndim)))

    return map_by_path(completed, params, findings(params, leaves))
