"""Steps on the manifold of matrices of one rank, for two factors that are such a matrix."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_finite_positive, require_fraction
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg.subspace._gram_power import gram_power
from optax_muon.linalg.subspace._rank_step import RankStep, rank_step, split_off
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._pairs import Pair, Pairs, map_together, resolve_pairs
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.matrices._side_products import OneSide, inner_products, times, unit_gram


class FixedRankState(NamedTuple):
    """State of `step_at_fixed_rank`.

    Attributes:
        count: updates so far, int32 scalar.
        momentum: a tangent vector at the present product, in the shape of the factors.
    """

    count: Any
    momentum: PyTree


def step_at_fixed_rank(
    learning_rate: optax.ScalarOrSchedule,
    decay: Number = 0.9,
    *,
    weight_decay: optax.ScalarOrSchedule = 0.0,
    keeps: Literal["momentum", "direction"] = "momentum",
    floor: Number = 1e-8,
    pairs: Pairs | None = None,
    leaves: Leaves | None = None,
    accumulator_dtype: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step along an orthogonalised tangent vector of the matrices of rank r, and go back to them by decomposition.

    Use it, through `riemannion`, for the factors of adapters alone; it is a whole optimizer of theirs, and nothing may
    follow it.

    .. math::
        X &= A B = L \Sigma R, \qquad D = (I - L L^T) G_A (B B^T)^{-1/2} R + L (A^T A)^{-1/2} G_B \\
        M_t &= \mu \operatorname{project}(M_{t-1}) + D, \qquad
        \Xi = \operatorname{project}(\operatorname{orth}(M_t)), \qquad
        A' B' = \operatorname{truncate}_r\big( (1 - \eta_t \lambda) X - \eta_t \Xi \big)

    Args:
        learning_rate: how far the product moves in spectral norm, about.
        decay: mu, in [0, 1).
        weight_decay: lambda, of the product; like the learning rate a number or a schedule.
        keeps: M, or Xi in its place.
        floor: the eigenvalue of a Gram matrix below which nothing is divided by it, as for `in_partner_metric`.
        pairs: as for `in_partner_metric`; every matrix is a factor of one.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.
        accumulator_dtype: of the momentum; None: the factors' own.

    All products of a factor's own size are with matrices of the rank, where the factor is sharded. A direction whose
    part in the tangent vector is below 1e-3 in float32, the root of its rounding, counts as none.

    Raises:
        ValueError: for numbers out of range; by ``init``, as `in_partner_metric` does, and naming a matrix that is no
            factor; by ``update``, without parameters.

    State: 1 float per parameter.

    References:
        Bogachev et al., Riemannion, arXiv 2507.12142.
    """
    require_fraction("step_at_fixed_rank: decay", decay)
    require_finite_positive("step_at_fixed_rank", floor=floor)

    def found(tree: PyTree, table: Mapping[str, Leaf]) -> tuple[Pair, ...]:
        """Find the pairs; no other matrix has a place here."""
        all_pairs = resolve_pairs(tree, pairs, table)
        alone = table.keys() - {path for pair in all_pairs for path in pair}
        if alone and by_path(tree):
            raise ValueError(f"{min(alone)}: step_at_fixed_rank takes factors alone; put it into transforms.paired")
        return all_pairs

    def init_fn(params):
        found(params, accepted(params, leaves))  # for its errors alone
        return FixedRankState(jnp.zeros([], jnp.int32), optax.tree.zeros_like(params, dtype=accumulator_dtype))

    def update_fn(updates, state, params=None, **extra_args: Any):
        """Move every pair."""
        del extra_args
        if params is None:
            raise ValueError("step_at_fixed_rank needs the parameters: call update(grads, state, params)")
        table = accepted(updates, leaves)
        rate, share = (x(state.count) if callable(x) else x for x in (learning_rate, weight_decay))
        trees = (updates, params, state.momentum)
        grads, weights, before = ({path: _wide(x) for path, x in by_path(tree).items()} for tree in trees)
        bases = _bases(found(params, table), table, grads, weights, before, decay, floor)

        def small(s: Array, c: Array, t: Array, a: Array, b: Array) -> RankStep:
            """Step in the coordinates of the bases."""
            return rank_step((s, c, t), (a, b), rate, 1 - rate * share, direction=keeps == "direction")

        steps = map_together(small, *bases.core)
        after, momentum = _applied(bases, steps, table)
        moves = map_by_path(lambda path, u: (after[path] - weights[path]).astype(u.dtype), updates)
        kept = map_by_path(lambda path, m: momentum[path].astype(m.dtype), state.momentum)
        return moves, FixedRankState(jnp.asarray(optax.safe_increment(state.count)), kept)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


class _Bases(NamedTuple):
    """Bases of every pair, each an array of a factor's shape times small matrices, and what stands between them.

    Attributes:
        pairs: the pairs.
        out: path -> the part of the momentum that leads out of the span of the factor (out of its rows, the second's).
        inverse: path -> what makes ``out`` orthonormal.
        unit: path -> the factor's own orthonormal basis.
        core: five tables by first path: S, C and T of the tangent vector, and the roots of both Gram matrices.
    """

    pairs: tuple[Pair, ...]
    out: dict[str, Array]
    inverse: dict[str, Array]
    unit: dict[str, Array]
    core: tuple[dict[str, Array], ...]


def _bases(
    pairs: tuple[Pair, ...],
    leaves: Mapping[str, Leaf],
    grads: dict[str, Array],
    weights: dict[str, Array],
    before: dict[str, Array],
    decay: Number,
    floor: Number,
) -> _Bases:
    """Add the gradient to the momentum in the tangent space, and give the coordinates of both and of the point."""
    sides: dict[str, tuple[OneSide, str]] = {
        path: (side, partner) for pair in pairs for path, side, partner in pair.partners()
    }
    grams = {path: unit_gram(weights[path], leaves[path], side) for path, (side, _) in sides.items()}
    powers = map_together(
        lambda gram, norm: (gram_power(gram, norm, -0.5, floor), gram_power(gram, norm, 0.5, 0.0)),
        *({path: x[i] for path, x in grams.items()} for i in range(2)),
    )

    def turned(path: str, x: Array, p: Array) -> Array:
        """Multiply along the rank."""
        return times(x, leaves[path], sides[path][0], p)

    def inner(path: str, x: Array, y: Array) -> Array:
        """Products of the vectors of two arrays."""
        return inner_products(x, y, leaves[path], sides[path][0])

    unit = {path: turned(path, weights[path], powers[path][0]) for path in sides}
    seen = {path: turned(path, grads[path], powers[partner][0]) for path, (_, partner) in sides.items()}
    out, within = {}, {}
    for first, second in pairs:
        out[first] = seen[first] - turned(first, unit[first], inner(first, unit[first], seen[first]))
        out[first] = decay * before[first] + out[first]
        moved = decay * before[second] + seen[second]
        within[first] = inner(second, moved, unit[second])
        out[second] = moved - turned(second, unit[second], within[first].mT)
    lengths = {path: unit_gram(out[path], leaves[path], side) for path, (side, _) in sides.items()}
    total = {a: jnp.hypot(jnp.hypot(lengths[a][1], lengths[b][1]), _length(within[a])) for a, b in pairs}
    among = {path: total[path] if path in total else total[partner] for path, (_, partner) in sides.items()}
    parts = map_together(split_off, *({path: x[i] for path, x in lengths.items()} for i in range(2)), among)
    core = (
        {a: parts[a][0] for a, _ in pairs},
        within,
        {a: parts[b][0] for a, b in pairs},
        {a: powers[a][1] for a, _ in pairs},
        {a: powers[b][1] for a, b in pairs},
    )
    return _Bases(pairs, out, {path: x[1] for path, x in parts.items()}, unit, core)


def _applied(
    bases: _Bases, steps: Mapping[str, RankStep], leaves: Mapping[str, Leaf]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Give the new factors and their momentum, by path."""
    after, momentum = {}, {}

    def joined(path: str, side: OneSide, of_out: Array, of_unit: Array) -> Array:
        """Return a combination of both bases of one factor."""
        scaled = FLOAT32.matmul(bases.inverse[path], of_out)
        return times(bases.out[path], leaves[path], side, scaled) + times(bases.unit[path], leaves[path], side, of_unit)

    for first, second in bases.pairs:
        s = steps[first]
        after[first] = joined(first, "output", *s.first)
        momentum[first] = joined(first, "output", *s.momentum_first)
        # Rows are multiplied from the left: by transposes, and the present basis stands first there.
        after[second] = joined(second, "reduction", s.second[1].mT, s.second[0].mT)
        momentum[second] = joined(second, "reduction", s.momentum_second[1].mT, s.momentum_second[0].mT)
    return after, momentum


def _length(x: Array) -> Array:
    """Frobenius norm of every small matrix."""
    return jnp.linalg.norm(x, axis=(-2, -1), keepdims=True)


def _wide(x: Array) -> Array:
    return x.astype(accumulator_dtype(x.dtype))
