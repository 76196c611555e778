"""A different operation on matrices for every role."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from optax_muon.linalg import MatrixOp, SpectralMap
from optax_muon.matrices._leaf import Role
from optax_muon.matrices._paths import map_by_path, matches
from optax_muon.matrices._resolve import Leaves, findings
from optax_muon.norms import Oracle
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift, transformation
from optax_muon.transforms._lmo import scale_by_lmo, with_vector_axes

ROLES: tuple[Role, ...] = get_args(Role)


def apply_by_role(
    ops: Mapping[str, SpectralMap | MatrixOp],
    *,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Apply to every leaf the operation of its role: hidden, embedding, head, router or vector.

    Use it where one optimizer treats the whole model, each role in its own norm, as Scion does. A key that is no role
    is a path glob; globs are tried before roles, in order, so one layer may differ from others of its role. Frozen
    leaves get no update. A vector without axes is one matrix (1, size).

    Args:
        ops: role or path glob -> a map or operation on matrices, such as a `norms.Oracle`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.
        seed: of the random keys, for operations that need them.

    State: that of the operations; none for oracles.

    Raises:
        ValueError: by ``init``, naming a leaf whose role has no operation.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> ops = {"hidden": om.norms.Oracle(om.norms.Linear()), "vector": om.norms.Oracle(om.norms.RMS())}
        >>> tx = om.transforms.apply_by_role(ops)
        >>> grads = {"up": {"kernel": jnp.eye(2), "bias": jnp.array([3.0, -3.0])}}
        >>> tx.update(grads, tx.init(grads))[0]["up"]["bias"].round(3).tolist()
        [1.0, -1.0]
    """

    def lifted(op: SpectralMap | MatrixOp) -> optax.GradientTransformationExtraArgs:
        """Make the transformation of one role or glob."""
        # An oracle that only normalises then runs on the shards: no embedding is gathered.
        if isinstance(op, Oracle):
            return scale_by_lmo(op.norm, op.radius, leaves=leaves, placement=placement, roles=ROLES)
        with_axes = functools.partial(with_vector_axes, leaves=leaves)
        return transformation(Lift(op, with_axes, placement, ROLES, seed))

    groups: dict[Any, optax.GradientTransformation] = {"frozen": optax.set_to_zero()} | {
        key: lifted(op) for key, op in ops.items()
    }

    def group(params: PyTree) -> PyTree[str]:
        """Label every parameter with its key, for `optax.multi_transform`."""
        keys = keys_by_path(params, groups, leaves)
        return map_by_path(lambda path, x, key: key, params, keys)

    return optax.multi_transform(groups, group, mask_compatible_extra_args=True)


def keys_by_path(params: PyTree, keys: Iterable[str], leaves: Leaves | None = None) -> dict[str, str]:
    """Return every parameter's key among ``keys``, by path: the first path glob that matches, else its role.

    Args:
        params: arrays or `jax.ShapeDtypeStruct` objects.
        keys: roles and path globs.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: naming a parameter without one.
    """
    keys = tuple(keys)
    globs = [key for key in keys if key not in ROLES]
    table = {}
    for path, found in findings(params, leaves).items():
        role = found.leaf.role
        # Globs first, or a layer could never be an exception to its role.
        table[path] = next((glob for glob in globs if matches(path, glob)), role)
        if table[path] not in keys:
            raise ValueError(f"{path}: a {role}, and there is nothing for it among {', '.join(map(repr, keys))}")
    return table


def scale_by_role(factors: Mapping[str, Any], *, leaves: Leaves | None = None) -> optax.GradientTransformationExtraArgs:
    """Multiply every leaf by the factor of its role or path glob, 1 where none is given.

    Use it for radii or rates that differ between roles.

    Args:
        factors: role or path glob -> number; globs win over roles.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    State: none.
    """

    def update_fn(updates, state, params=None, **extra_args):
        """Multiply every leaf by its factor."""
        del params, extra_args
        # All roles are keys here, so that nothing raises: a role without a factor keeps its size.
        keys = keys_by_path(updates, (*factors, *ROLES), leaves)

        def scaled(path, x, key):
            return x * jnp.asarray(factors[key], x.dtype) if key in factors else x

        return map_by_path(scaled, updates, keys), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update_fn)
