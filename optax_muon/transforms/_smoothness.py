"""Local smoothness of every matrix between two points of a run."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from optax_muon.linalg import Info, MatrixOp
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._resolve import Leaves, findings
from optax_muon.norms import Norm, Oracle
from optax_muon.norms._norm import inner
from optax_muon.transforms._by_role import ROLES, keys_by_path
from optax_muon.transforms._lift import Lift
from optax_muon.transforms._lmo import with_vector_axes


class SmoothnessSample(NamedTuple):
    """Local smoothness of one parameter's matrices.

    Attributes:
        estimate: dual norm of the gradients' change over the norm of the parameters' change, shape (matrices,).
        dual: dual norm of the later gradient, shape (matrices,).
    """

    estimate: Array
    dual: Array


def measure_smoothness(
    params: PyTree,
    grads: PyTree,
    last_params: PyTree,
    last_grads: PyTree,
    *,
    norms: Mapping[str, Norm],
    leaves: Leaves | None = None,
) -> dict[str, SmoothnessSample]:
    r"""Measure, matrix by matrix, how fast the gradient changed between two points, in each role's norm.

    .. math::
        \hat L_i = \frac{\langle \Delta G_i, \operatorname{lmo}(\Delta G_i) \rangle}{\|\Delta W_i\|}

    Collect samples at logging points and give them to `norms.fit_smoothness` for Gluon's radii. Cost: two oracles and
    one exact norm of every matrix, so not for every step.

    Args:
        params: the later point.
        grads: the gradient there.
        last_params: the earlier point.
        last_grads: the gradient there; of the same batch, or of batches large enough.
        norms: role or path glob -> norm.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Returns:
        Path -> `SmoothnessSample`. A matrix that did not move has estimate NaN.

    Raises:
        ValueError: naming a parameter without a norm.

    References:
        Riabinin et al., Gluon, arXiv 2505.13416.
    """
    keys = keys_by_path(params, norms, leaves)
    axes = {path: found.leaf for path, found in findings(params, lambda p: with_vector_axes(p, leaves)).items()}
    change, moved, later = (
        by_path(jax.tree.map(jnp.subtract, grads, last_grads)),
        by_path(jax.tree.map(jnp.subtract, params, last_params)),
        by_path(grads),
    )
    samples = {}
    for key, norm in norms.items():
        mine = [path for path in keys if keys[path] == key]

        def of(op: MatrixOp, table: Mapping[str, Array], mine=mine, **others: Any):
            """Return the duals of an operation on the parameters of this norm: path -> (matrices,)."""
            tree = {path: table[path] for path in mine}
            _, _, done = Lift(op, {path: axes[path] for path in mine}, None, ROLES).apply(tree, None, **others)
            return {path: jnp.concatenate([info.dual for info in done[path].infos]) for path in mine}

        estimates = of(_ChangeRate(norm), change, step={path: moved[path] for path in mine})
        duals = of(Oracle(norm), later)
        samples |= {path: SmoothnessSample(estimates[path], duals[path]) for path in mine}
    return samples


@dataclasses.dataclass(frozen=True)
class _ChangeRate(MatrixOp):
    """Return as dual value the dual norm of a matrix over the norm of ``step``."""

    takes: ClassVar[tuple[str, ...]] = ("step",)
    norm: Norm

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Return no state."""
        return ()

    def apply(self, x, carry, *, key=None, **others):
        """Leave the matrix as it is, and measure it against its step."""
        self.check_others(x, others)
        # Exact, by decomposition: an oracle pairs, which gives the dual norm of its argument and never the norm.
        size = self.norm.value(others["step"])
        dual = inner(x, self.norm.direction(x))
        return x, carry, Info(dual=jnp.where(size == 0, jnp.nan, dual / jnp.where(size == 0, 1, size)))
