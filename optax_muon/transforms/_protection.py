"""Directions that leave old inputs of a layer alone."""

from collections.abc import Mapping

import optax

from optax_muon._types import Number
from optax_muon.linalg import Constrained, Interference, SpectralMap, best
from optax_muon.matrices._paths import by_path, matches
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.placement._placement import Placement
from optax_muon.transforms._by_role import apply_by_role


def protect_subspaces(
    subspaces: Mapping[str, Interference],
    *,
    steps: int = 5,
    rate: Number = 0.05,
    warm_start: bool = True,
    orthogonalizer: SpectralMap | None = None,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Orthogonalise every matrix, those with subspaces so that given outputs of given inputs stay as they are.

    Use it behind a momentum for continual learning: see `muon_ogd`, and `linalg.Interference` for the equations.

    .. math::
        \Lambda \leftarrow \Lambda - \rho V^T \operatorname{orth}(X + V \Lambda U^T) U \quad (\text{steps times}), \quad
        Y = \operatorname{orth}(X + V \Lambda U^T)

    Args:
        subspaces: path or glob -> V and U, the first match counts. Each entry is computed by itself: one for stacked
            layers makes a smaller program than one for every layer.
        steps: of the dual descent.
        rate: rho, in units of the matrix's root mean square singular value. Above 0.1 multipliers swing.
        warm_start: start from the last update's multipliers.
        orthogonalizer: None: `best()` where nothing is protected, and that of `linalg.Constrained` elsewhere.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.

    Raises:
        ValueError: by ``init``, for a key that matches no parameter, and subspaces that do not fit.

    State: m k + n l + k l floats for an m x n matrix with k protected inputs and l outputs.

    References:
        Lu et al., Muon-OGD, arXiv 2605.08949.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> old = om.linalg.Interference(jnp.eye(3, 1))  # the first input
        >>> tx = om.transforms.protect_subspaces({"w": old}, steps=200, rate=0.1)
        >>> grads = {"w": jnp.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])}
        >>> [[abs(round(float(x), 2)) for x in row] for row in tx.update(grads, tx.init(grads))[0]["w"]]
        [[0.0, 0.0], [0.45, 0.89], [0.89, 0.45]]
    """
    operations = {
        key: Constrained(found, orthogonalizer, steps, rate, falling=False, warm_start=warm_start)
        for key, found in subspaces.items()
    }
    # Roles that the check below lets pass as hidden matrices.
    free = dict.fromkeys(("hidden", "input", "head"), orthogonalizer or best())
    tx = apply_by_role(operations | free, leaves=leaves, placement=placement)

    def init_fn(params):
        """Check keys and roles first."""
        accepted(params, leaves)
        paths = tuple(by_path(params))
        for key in subspaces:
            if paths and not any(matches(path, key) for path in paths):
                raise ValueError(f"protect_subspaces: {key!r} matches no hidden matrix; there are {', '.join(paths)}")
        return tx.init(params)

    return optax.GradientTransformationExtraArgs(init_fn, tx.update)
