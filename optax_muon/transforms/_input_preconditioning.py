"""Gradients divided by the second moments of what enters their layers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_fraction, require_not_negative, require_positive, require_whole
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg.subspace._diagonal_blocks import (
    TimesBlocks,
    block_size,
    diagonal_blocks,
    inverse_of_blocks,
)
from optax_muon.matrices._cut_state import cut_like
from optax_muon.matrices._leaf import Leaf, matrix_shapes
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._reductions import init_state
from optax_muon.matrices._resolve import Leaves
from optax_muon.matrices._shard_view import whole_shape
from optax_muon.placement._placement import Placement
from optax_muon.transforms._lift import Lift, LiftState

START = 1e-3  # of K, times I: the authors'


class InputMomentsState(NamedTuple):
    """State of `precondition_inputs`.

    Attributes:
        count: updates so far, int32 scalar.
        moments: path -> average of the inputs' second moments, (n, n), or its diagonal blocks one below the other,
            (n, size), float32 or wider; alone in a tuple, as what belongs to matrices is.
        inverse: path -> what gradients are multiplied by, likewise.
    """

    count: Any
    moments: PyTree
    inverse: PyTree


def precondition_inputs(
    decay: Number = 0.95,
    *,
    ridge: Number = 0.2,
    refresh_every: int = 32,
    max_block: int | None = None,
    eps: float = 1e-8,
    leaves: Leaves | None = None,
    placement: Placement | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Divide every gradient by its layer's averaged second moment of inputs.

    Use it before a momentum, where inputs are ill conditioned: a step along the result changes the layer's outputs as a
    plain one does for inputs that are white.

    .. math::
        K \leftarrow \beta K + (1 - \beta) \operatorname{mean}(x x^T), \qquad
        U = G \left( K + (r \tfrac{\operatorname{tr} K}{n} + \epsilon) I \right)^{-1}, \quad G \text{ as (out, in)}

    K and the inverse are renewed at every T-th update alone; before the first renewal U is G.

    Args:
        decay: beta.
        ridge: r, in units of the mean eigenvalue of K.
        refresh_every: T, in updates.
        max_block: the most inputs that K relates to each other; more are cut into the fewest equal diagonal blocks, as
            the authors cut the 4 d inputs of a down-projection by d. None: K is whole.
        eps: added to the diagonal, in units of squared inputs.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        placement: where the products run; None: `OverMesh()`, on the local device where there is no mesh.

    ``update`` takes ``input_moments``: path -> :math:`\operatorname{mean}(x x^T)` of the layer's inputs, (n, n), for
    every matrix, or a function without arguments that returns it, which then runs at every T-th update alone.
    `optax_muon.diagnostics.input_moments` makes it of a Flax model and a batch. Stacked matrices share their K.

    Raises:
        ValueError: for numbers out of range; by ``update``, without moments, naming the helper, or naming a matrix
            without one or with one of another shape.

    State: 2 n^2 floats for n inputs; in b blocks, 2 n^2 / b.

    References:
        Du and Su, Newton-Muon, arXiv 2604.01472, github.com/zhehangdu/Newton-Muon.
    """
    require_fraction("precondition_inputs: decay", decay)
    require_not_negative("precondition_inputs", ridge=ridge)
    require_positive("precondition_inputs", eps=eps)
    require_whole("precondition_inputs: refresh_every", refresh_every)
    if max_block is not None:
        require_whole("precondition_inputs: max_block", max_block)
    lift = Lift(TimesBlocks(max_block), leaves, placement)

    def init_fn(params):
        jax.eval_shape(lift.init, params)  # for its errors alone
        table = lift.resolve(params)

        def made(factor: float) -> PyTree:
            return init_state(lambda x, leaf: (factor * _identities(x, leaf, max_block),), params, table)

        return InputMomentsState(jnp.zeros([], jnp.int32), made(START), made(1.0))

    def update_fn(updates, state, params=None, *, input_moments: Any = None, **extra_args):
        """Renew the inverses when it is time, and multiply."""
        del params, extra_args
        table = lift.resolve(updates)
        if not table:
            return updates, state
        if input_moments is None:
            raise ValueError(
                "precondition_inputs needs the second moments of the layers' inputs: call update(grads, state, params, "
                "input_moments=om.diagnostics.input_moments(model, batch)), or a function that returns them"
            )
        count = jnp.asarray(optax.safe_increment(state.count))
        due = count % refresh_every == 0
        moments, inverse = jax.lax.cond(
            due, lambda: _renewed(state, input_moments, decay, ridge, eps), lambda: (state.moments, state.inverse)
        )
        arrays = by_path(updates)
        moments, inverse = (_kept_in_place(tree, arrays, table) for tree in (moments, inverse))
        carries = {path: _for_stacks(inverse[path][0], x, table[path]) for path, x in arrays.items()}
        out, _, _ = lift.apply(updates, LiftState(state.count, carries))
        return out, InputMomentsState(count, moments, inverse)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _kept_in_place(tree: PyTree, arrays: Mapping[str, Array], table: Mapping[str, Leaf]) -> dict[str, Any]:
    """Cut states as they were made.

    The partitioner of an Auto mesh would place what the products read as it likes, and the next step would compile
    again for it.
    """
    return {path: cut_like(tree[path], x, table[path].spec) for path, x in arrays.items()}


def _renewed(state: InputMomentsState, given: Any, decay: Any, ridge: Any, eps: float) -> tuple[PyTree, PyTree]:
    """Average the moments that are given, and invert."""
    seen = _checked(given, state.moments)
    moments = {
        path: ((decay * old + (1 - decay) * seen[path]).astype(old.dtype),) for path, (old,) in state.moments.items()
    }
    return moments, {path: (inverse_of_blocks(k, ridge, eps),) for path, (k,) in moments.items()}


def _inputs(x: Array, leaf: Leaf) -> int:
    """Count the inputs of one parameter's matrices, which its pieces share."""
    sizes = {m for _, m, _ in matrix_shapes(whole_shape(x.shape, leaf), leaf)}
    if len(sizes) > 1 or (leaf.split is not None and leaf.split.side == "reduction"):
        raise ValueError(f"precondition_inputs: pieces along the inputs, {leaf.split}, have no moment of their own")
    return sizes.pop() if sizes else 0


def _identities(x: Array, leaf: Leaf, largest: int | None) -> Array:
    n = _inputs(x, leaf)
    return diagonal_blocks(jnp.eye(n, dtype=accumulator_dtype(x.dtype)), block_size(n, largest))


def _for_stacks(inverse: Array, x: Array, leaf: Leaf) -> tuple[Array, ...]:
    """Give every matrix of one parameter its inverse."""
    shapes = matrix_shapes(whole_shape(x.shape, leaf), leaf)
    return tuple(jnp.broadcast_to(inverse, (count, *inverse.shape)) for count, _, _ in shapes)


def _checked(given: Mapping[str, Array] | Callable[[], Mapping[str, Array]], moments: Mapping[str, Any]) -> Any:
    """Return the moments' blocks, computed now where a function gives them, for every matrix."""
    seen = given() if callable(given) else given
    blocks = {}
    for path, (old,) in moments.items():
        needed = (old.shape[0],) * 2
        found = seen[path].shape if path in seen else None
        if found != needed:
            what = "no second moment of its inputs" if found is None else f"a second moment {found} of its inputs"
            raise ValueError(
                f"{path}: {what}, where {needed} is needed; om.diagnostics.input_moments(model, batch) makes those "
                "of dense layers, and a rule sends other matrices elsewhere"
            )
        blocks[path] = diagonal_blocks(seen[path], old.shape[1])
    return blocks
