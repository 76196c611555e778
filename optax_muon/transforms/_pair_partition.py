"""One rule for the factors of products, and one for matrices that are none."""

import optax
from jaxtyping import PyTree

from optax_muon.matrices._pairs import Pairs, resolve_pairs
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._resolve import Leaves, accepted


def paired(
    inner: optax.GradientTransformation, pairs: Pairs | None = None, *, leaves: Leaves | None = None
) -> optax.GradientTransformationExtraArgs:
    """Apply a transformation to the factors of pairs, and leave other matrices.

    Use it for a rule that knows products alone, such as `step_at_fixed_rank`, beside `unpaired` for the others.

    Args:
        inner: any transformation of a tree of factors.
        pairs: as for `in_partner_metric`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: as `in_partner_metric` does.

    State: the inner transformation's, in which other matrices have no place.
    """
    return _masked(inner, pairs, leaves, among=True)


def unpaired(
    inner: optax.GradientTransformation, pairs: Pairs | None = None, *, leaves: Leaves | None = None
) -> optax.GradientTransformationExtraArgs:
    """Apply a transformation to the matrices that are no factors, and leave those that are.

    Use it beside `in_partner_metric`, for a rule such as weight decay that factors have in another form.

    Args:
        inner: any transformation of a tree of matrices.
        pairs: as for `in_partner_metric`.
        leaves: a tree of `Leaf`, a callable that makes one, or None for names and ranks.

    Raises:
        ValueError: as `in_partner_metric` does.

    State: the inner transformation's, in which factors have no place.
    """
    return _masked(inner, pairs, leaves, among=False)


def _masked(
    inner: optax.GradientTransformation, pairs: Pairs | None, leaves: Leaves | None, *, among: bool
) -> optax.GradientTransformationExtraArgs:
    def chosen(tree: PyTree) -> PyTree:
        """Mark the factors, or the others."""
        factors = {path for pair in resolve_pairs(tree, pairs, accepted(tree, leaves)) for path in pair}
        return map_by_path(lambda path, _: (path in factors) == among, tree)

    return optax.masked(inner, chosen, mask_compatible_extra_args=True)
