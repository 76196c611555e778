"""Steps along a norm's oracle whose length follows from gradients seen so far."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_finite_positive
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.matrices._leaf import Role
from optax_muon.matrices._resolve import Leaves, cutting_axes
from optax_muon.norms import Norm, Oracle
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift
from optax_muon.transforms._momo import inner_of_trees


class ParameterFreeState(NamedTuple):
    """State of `parameter_free`.

    Attributes:
        count: updates so far, int32 scalar.
        step: eta, the length of the last step.
        curvature: sum of the gradients' changes over the steps', scalar.
        descent: sum of what steps gained by the next gradient, scalar.
        largest: d, the largest of these sums so far, scalar.
        gradient: the last gradient, shaped like the parameters.
        direction: the oracle's point for it, likewise.
    """

    count: Any
    step: Any
    curvature: Any
    descent: Any
    largest: Any
    gradient: PyTree
    direction: PyTree


def parameter_free(
    norm: Norm,
    first_step: float = 1e-3,
    *,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
    roles: tuple[Role, ...] = ("hidden",),
) -> optax.GradientTransformationExtraArgs:
    r"""Step along a norm's oracle by a length that needs no smoothness and no distance to be known.

    Use it in place of a learning rate, where gradients are not too noisy: their noise counts as curvature.

    .. math::
        D_t &= \operatorname{lmo}(G_t), \qquad
        c_t = \sum_{i < t} \frac{\|G_{i+1} - G_i\|_*}{\eta_i}, \qquad
        d_t = \max\left( d_{t-1}, \textstyle\sum_{i < t} \eta_i \langle G_{i+1}, D_i \rangle \right) \\
        U_t &= \eta_t D_t, \qquad \eta_t = \sqrt{d_t / c_t}, \qquad d_0 = \eta_0 \|G_0\|_*

    One length for all matrices: their norm is the largest among them, and the dual norm is the sum. Multiplying the
    loss by a constant changes nothing; a constant learning rate r after it runs the rule in the coordinates W / r.

    Args:
        norm: an object of `optax_muon.norms`; its oracle's pairing is taken for the dual norm.
        first_step: eta_0, in units of the norm.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the work runs; None: `OverMesh()`, on the local device where there is no mesh.
        roles: roles it accepts; any other leaf is an error.

    State: 2 floats per parameter and 5 numbers.

    Raises:
        ValueError: for a first step that is not positive and finite, or naming a leaf of another role.

    References:
        The rule for signs: Sign-SGD via Parameter-Free Optimization, arXiv 2506.03725; other norms are OUR READING.
    """
    require_finite_positive("parameter_free", first_step=first_step)
    lift = Lift(Oracle(norm), leaves, placement, roles)

    def point(x: PyTree, state: Any) -> tuple[PyTree, Array]:
        """Return the oracle's point and the dual norm."""
        y, _, done = lift.apply(x, state)
        return y, sum((jnp.sum(info.dual) for result in done.values() for info in result.infos), jnp.zeros([]))

    def init_fn(params):
        lift.init(params)  # for its checks alone
        dtype = jnp.finfo(accumulator_dtype(jnp.result_type(jnp.float16, *jax.tree.leaves(params)))).dtype
        zero, tree = jnp.zeros([], dtype), optax.tree.zeros_like(params)
        return ParameterFreeState(
            jnp.zeros([], jnp.int32), jnp.full([], first_step, dtype), zero, zero, zero, tree, tree
        )

    def update_fn(updates, state, params=None, **extra_args):
        """Learn from the change of the gradient, and step."""
        del params, extra_args
        first = state.count == 0
        last = jnp.where(first, first_step, state.step).astype(state.step.dtype)
        direction, size = point(updates, optax.EmptyState())
        _, change = point(jax.tree.map(jnp.subtract, updates, state.gradient), optax.EmptyState())
        gain = inner_of_trees(updates, state.direction, cutting_axes(updates, leaves))
        curvature = state.curvature + jnp.where(first, 0, change / last)
        descent = state.descent + jnp.where(first, 0, last * gain)
        largest = jnp.maximum(jnp.where(first, last * size, state.largest), descent)
        # Until gradients have changed nothing is known of the curvature.
        flat = curvature == 0
        step = jnp.where(flat, last, jnp.sqrt(largest / jnp.where(flat, 1, curvature)))
        # A length of zero would never be left again, and would divide the next change.
        step = jnp.where(step == 0, last, step)
        step, curvature, descent, largest = (x.astype(state.step.dtype) for x in (step, curvature, descent, largest))
        moves = jax.tree.map(lambda x: (step * x).astype(x.dtype), direction)
        count = optax.safe_increment(state.count)
        return moves, ParameterFreeState(count, step, curvature, descent, largest, updates, direction)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
