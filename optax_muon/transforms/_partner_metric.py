"""Any update rule for the two factors of a product, carried out in the metric of the product."""

from collections.abc import Mapping

import optax
from jaxtyping import Array, PyTree

from optax_muon._numbers import require_finite_positive
from optax_muon._types import Number
from optax_muon.linalg.subspace._gram_power import gram_power
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._pairs import Pair, Pairs, map_together, resolve_pairs
from optax_muon.matrices._paths import by_path, map_by_path
from optax_muon.matrices._resolve import Leaves, accepted
from optax_muon.matrices._side_products import OneSide, times, unit_gram


def in_partner_metric(
    inner: optax.GradientTransformation,
    pairs: Pairs | None = None,
    *,
    power: Number = -0.5,
    floor: Number = 1e-8,
    split: Number = 1.0,
    leaves: Leaves | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Multiply by a power of the other factor's Gram matrix before a rule and once more after it.

    Use it around an orthogonaliser for the factors of adapters (`lora_muon`, `intrinsic_muon`): what they move is the
    product, by steps of one size, however the product is shared out between them.

    .. math::
        W = A B, \qquad P_A = (B B^T)^{p}, \qquad P_B = (A^T A)^{p}, \qquad
        U_A = s \, \text{inner}(G_A P_A) P_A, \qquad U_B = s \, P_B \, \text{inner}(P_B G_B)

    With an orthogonaliser inside and :math:`p = -\tfrac12`, :math:`\|U_A B\|_2 = \|A U_B\|_2 = s`, and other factors
    :math:`(A C, C^{-1} B)` give the same change of the product.

    Args:
        inner: an orthogonaliser or an oracle; a matrix without a partner takes it as it is.
        pairs: path of the factor that the data enters -> path of the other, a mapping or a tree, or a callable that
            makes one from the parameters; None: `pairs_by_name`.
        power: p.
        floor: the eigenvalue of a Gram matrix, in squared units of the weights, below which a negative power fades to
            zero with the eigenvalue; in float32 so do eigenvalues below 2e-6 times the rank times their sum. Along
            what its partner has nothing of a factor does not move, nor beside zeros, which adapters start with.
        split: s, for factors alone; 1/2 where both move at every step and the product is to move by one.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks; which side is the rank.

    Factors stay where they are sharded; what travels is rank x rank. The factors of stacked adapters are pairs of
    their own, and a `Leaf.split` along the other side counts as one matrix with its neighbours in a Gram matrix.

    Raises:
        ValueError: for a floor that is not positive; by ``init`` naming two paths, for a factor without its partner or
            factors that do not fit; by ``update``, without parameters.
        TypeError: naming a complex factor.

    State: the inner transformation's.

    References:
        LoRA-Muon, arXiv 2606.12921; Intrinsic Muon, arXiv 2605.09238.
    """
    require_finite_positive("in_partner_metric", floor=floor)
    inner = optax.with_extra_args_support(inner)

    def init_fn(params):
        resolve_pairs(params, pairs, accepted(params, leaves))  # for its errors alone
        return inner.init(params)

    def update_fn(updates, state, params=None, **extra_args):
        """Multiply, let the inner rule move, multiply again."""
        if params is None:
            raise ValueError("in_partner_metric needs the parameters: call update(grads, state, params)")
        table = accepted(updates, leaves)
        metric = partner_powers(params, resolve_pairs(params, pairs, table), table, power, floor)

        def measured(path: str, x: Array) -> Array:
            """Multiply a factor's update along its rank."""
            if path not in metric:
                return x
            side, p = metric[path]
            return times(x, table[path], side, p).astype(x.dtype)

        before = map_by_path(measured, updates)
        moves, state = inner.update(before, state, params, **extra_args)
        shared = map_by_path(lambda path, x: (split * x).astype(x.dtype) if path in metric else x, moves)
        return map_by_path(measured, shared), state

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)


def partner_powers(
    params: PyTree, pairs: tuple[Pair, ...], leaves: Mapping[str, Leaf], power: Number, floor: Number
) -> dict[str, tuple[OneSide, Array]]:
    """Give, for every factor, the side that is its rank and the power of its partner's Gram matrix."""
    arrays, sides, grams, norms = by_path(params), {}, {}, {}
    for pair in pairs:
        for path, side, partner in pair.partners():
            other: OneSide = "reduction" if side == "output" else "output"
            grams[path], norms[path] = unit_gram(arrays[partner], leaves[partner], other)
            sides[path] = side
    powers = map_together(lambda gram, norm: gram_power(gram, norm, power, floor), grams, norms)
    return {path: (side, powers[path]) for path, side in sides.items()}
