"""Two rules at once: one for the directions of the weights' vectors, one for their lengths."""

from typing import Any, Literal, NamedTuple, cast

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._scale import one_if_zero
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._reductions import Side, init_state, norm_over, sum_over, unit_over
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.transforms._directions import require_directions
from optax_muon.transforms._tangent import OVER


class WeightNormState(NamedTuple):
    """State of `in_weight_norm`.

    Attributes:
        length: path -> length of every vector v, float32 or wider.
        direction: of the rule for v.
        magnitude: of the rule for g.
    """

    length: PyTree
    direction: optax.OptState
    magnitude: optax.OptState


def in_weight_norm(
    direction: optax.GradientTransformation,
    magnitude: optax.GradientTransformation,
    *,
    side: Literal["output", "reduction", "both"] = "output",
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Train weights as lengths times directions, one rule for each, without a change of the model.

    Use it where the sizes of neurons want another rule than their directions: Muown, weight-normalised Adam.

    .. math::
        W_o = g_o \frac{v_o}{\|v_o\|}, \qquad u_o = \frac{W_o}{g_o}, \qquad
        \nabla g_o = \langle G_o, u_o \rangle, \qquad \nabla v_o = \frac{g_o}{\|v_o\|} (G_o - \nabla g_o u_o) \\
        v' = v + \text{direction}(\nabla v), \qquad g' = g + \text{magnitude}(\nabla g), \qquad
        U_o = g'_o \frac{v'_o}{\|v'_o\|} - W_o

    Every gradient of v is orthogonal to it, so that v only grows, and its steps turn it by less and less. v starts as
    W, and only its length is kept, since W tells its direction.

    Args:
        direction: a whole optimizer, learning rate included, of a tree like the parameters.
        magnitude: a whole optimizer of a tree of lengths, one array by path; elementwise.
        side: whose vectors: ``"output"`` has one along the reduction axes for each output.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    g is the present length of the weights: a vector whose length would go through zero comes out reversed. A vector of
    zeros stays zero.

    Raises:
        ValueError: for an unknown side; by ``init``, naming a leaf that is not a hidden matrix or, outside `jax.jit`,
            one with a matrix of zeros; by ``update``, without parameters.

    State: 1 float per vector, and that of both rules.

    References:
        Muown, arXiv 2605.10797; Salimans and Kingma, Weight Normalization, arXiv 1602.07868.
    """
    if side not in OVER:
        raise ValueError(f"in_weight_norm: side must be one of {', '.join(OVER)}, not {side!r}")
    over = OVER[side]
    direction, magnitude = map(optax.with_extra_args_support, (direction, magnitude))

    def lengths(tree: PyTree) -> PyTree:
        """Return the length of every vector, by path; one placeholder for an empty group of a partition."""
        return init_state(lambda x, leaf: norm_over(x, leaf, over), tree, accepted(tree, leaves))

    def init_fn(params):
        require_directions("in_weight_norm", params, accepted(params, leaves))
        g = lengths(params)
        return WeightNormState(g, direction.init(params), magnitude.init(g))

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Take the gradient apart, step in both, and put the weights together."""
        if params is None:
            raise ValueError("in_weight_norm needs the parameters: call update(grads, state, params)")
        table, weights = accepted(updates, leaves), by_path(params)
        if not table:
            return updates, state
        g = lengths(params)
        parts = {path: _apart(x, weights[path], table[path], over) for path, x in by_path(updates).items()}
        turn = map_by_path(_turning, updates, parts, g, state.length)
        vectors = map_by_path(lambda path, w, part, v: part.unit * v, params, parts, state.length)
        moves, toward = direction.update(turn, state.direction, vectors, **extra_args)
        slopes = {path: part.along for path, part in parts.items()}
        more, sizes = magnitude.update(slopes, state.magnitude, g, **extra_args)
        moved, base, longer = by_path(moves), by_path(vectors), cast(dict[str, Array], more)
        after = {path: base[path] + moved[path] for path in table}

        def step(path: str, x: Array, w: Array) -> Array:
            """Return one parameter's way from the old weights to the new."""
            new = unit_over(after[path], table[path], over) * (g[path] + longer[path])
            return (new - w).astype(x.dtype)

        kept = {path: norm_over(v, table[path], over).astype(state.length[path].dtype) for path, v in after.items()}
        return map_by_path(step, updates, weights), WeightNormState(kept, toward, sizes)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class _Parts(NamedTuple):
    """Unit vectors of one parameter, its gradient across them, and its slopes along them."""

    unit: Array
    across: Array
    along: Array


def _apart(x: Array, w: Array, leaf: Leaf, over: Side) -> _Parts:
    """Take one parameter's gradient apart."""
    wide = x.astype(jnp.promote_types(accumulator_dtype(x.dtype), accumulator_dtype(w.dtype)))
    u = unit_over(w, leaf, over).astype(wide.dtype)
    along = sum_over(jnp.real(wide * jnp.conj(u)), leaf, over)
    return _Parts(u, wide - along.astype(wide.dtype) * u, along)


def _turning(path: str, x: Array, part: _Parts, long: Array, v: Array) -> Array:
    """Return one parameter's gradient by v."""
    return (part.across * (long / one_if_zero(v))).astype(x.dtype)
