"""Factors of a product that are brought to one size."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_share, require_whole
from optax_muon._types import Number
from optax_muon.linalg.subspace._gram_power import gram_norm
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._pairs import Pair, Pairs, map_together, resolve_pairs
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.matrices._side_products import to_broadcast, unit_gram


class BalanceState(NamedTuple):
    """State of `balance_pairs`.

    Attributes:
        count: updates so far, int32 scalar.
        inner: the inner optimizer's.
    """

    count: Any
    inner: optax.OptState


def balance_pairs(
    inner: optax.GradientTransformation,
    pairs: Pairs | None = None,
    *,
    power: Number = 1.0,
    period: int = 1,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Bring two factors to one size every few updates, without a change of their product.

    Use it around a whole optimizer, learning rate included, where the sizes of the factors drift apart: in low
    precision, or where a rule that does not see the product, such as clipping, follows.

    .. math::
        c = \left( \|B'\|_2 / \|A'\|_2 \right)^{a / 2}, \qquad A \leftarrow c A', \qquad B \leftarrow B' / c, \qquad
        M_A \leftarrow M_A / c, \qquad M_B \leftarrow c M_B

    Args:
        inner: makes :math:`A'` and :math:`B'`. What its state has in the shape of the factors is taken for averages of
            gradients, M.
        pairs: as for `in_partner_metric`; other matrices keep their update.
        power: a; 1 makes both norms equal, 0 does nothing.
        period: of how many updates every last one balances.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    A pair of which one factor is zero stays as it is.

    Raises:
        ValueError: for a power outside [0, 1] or a period below 1; by ``init``, as `in_partner_metric` does; by
            ``update``, without parameters.

    State: the inner optimizer's, and a count.

    References:
        LoRA-Muon, arXiv 2606.12921, algorithm 2.
    """
    require_share("balance_pairs: power", power)
    require_whole("balance_pairs: period", period)
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        resolve_pairs(params, pairs, accepted(params, leaves))  # for its errors alone
        return BalanceState(jnp.zeros([], jnp.int32), inner.init(params))

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Let the inner optimizer move, then change the coordinates of the product."""
        if params is None:
            raise ValueError("balance_pairs needs the parameters: call update(grads, state, params)")
        table = accepted(updates, leaves)
        moves, kept = inner.update(updates, state.inner, params, **extra_args)
        count = jnp.asarray(optax.safe_increment(state.count))
        found = resolve_pairs(params, pairs, table)
        if not found:
            return moves, BalanceState(count, kept)
        after = jax.tree.map(lambda w, u: w + u.astype(w.dtype), params, moves)
        factors = _balancing(after, found, table, jnp.where(count % period == 0, power, 0.0))

        def moved(path: str, u: Array, w: Array, new: Array) -> Array:
            """Return one factor's way to its balanced value."""
            return (u + (factors[path] - 1) * new).astype(u.dtype) if path in factors else u

        def of_gradients(m: Array, c: Array) -> Array:
            """Change an average of gradients as these change."""
            return (m / c).astype(m.dtype)

        ones: PyTree = map_by_path(lambda path, w: factors.get(path, jnp.ones([], w.dtype)), params)
        kept = optax.tree.map_params(inner, of_gradients, kept, ones)
        return map_by_path(moved, moves, by_path(params), by_path(after)), BalanceState(count, kept)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def _balancing(params: PyTree, pairs: tuple[Pair, ...], leaves: Mapping[str, Leaf], power: Array) -> dict[str, Array]:
    """Give the number by which every factor is multiplied, an array that broadcasts against it."""
    arrays, grams, lengths = by_path(params), {}, {}
    for pair in pairs:
        for path, side, _ in pair.partners():
            grams[path], lengths[path] = unit_gram(arrays[path], leaves[path], side)
    norms = map_together(gram_norm, grams, lengths)
    factors = {}
    for first, second in pairs:
        a, b = norms[first], norms[second]
        alive = (a > 0) & (b > 0)
        c = (jnp.where(alive, b, 1) / jnp.where(alive, a, 1)) ** (power / 2).astype(a.dtype)
        factors[first] = to_broadcast(c, arrays[first].ndim, leaves[first])
        factors[second] = to_broadcast(1 / c, arrays[second].ndim, leaves[second])
    return factors
