"""Which parameter goes to which optimizer."""

import functools
from collections.abc import Callable
from typing import Any

import optax
from jaxtyping import PyTree

from optax_muon.matrices._by_name import Rules
from optax_muon.matrices._check_state import check_gradients, check_state
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import map_by_path
from optax_muon.matrices._resolve import Leaves, findings, resolve


def label(params: PyTree, leaves: Leaves | None = None, rules: Rules = ()) -> PyTree[str]:
    """Label every parameter with its role.

    Raises:
        ValueError: for a model without a hidden matrix.
    """
    found = findings(params, leaves, rules)
    if found and not any(entry.leaf.role == "hidden" for entry in found.values()):
        raise ValueError(
            f"no hidden matrix among {len(found)} parameters ({next(iter(found))}, ...): nothing for Muon to do"
        )
    return map_by_path(lambda path, x, entry: entry.leaf.role, params, found)


def labels(leaves: Leaves | None = None, rules: Rules = ()) -> Callable[[PyTree], PyTree[str]]:
    """Make the labelling callable that `optax.multi_transform` takes; its groups are role names.

    Example:
        >>> import optax, optax_muon as om
        >>> adam = optax.adamw(3e-4)
        >>> tx = optax.multi_transform(
        ...     {"hidden": om.muon(0.02), "embedding": adam, "head": adam, "vector": adam}, om.labels()
        ... )
    """
    return functools.partial(label, leaves=leaves, rules=rules)


def for_matrices(
    tx_or_make: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
    otherwise: optax.GradientTransformation,
    *,
    leaves: Leaves | None = None,
    rules: Rules = (),
) -> optax.GradientTransformationExtraArgs:
    """Send hidden matrices to one optimizer and every other parameter to another.

    Args:
        tx_or_make: a built transformation, or a callable that builds one from ``leaves=...`` (a named optimizer or a
            `functools.partial` of it); the callable is needed when ``leaves`` or a rule names a matrix.
        otherwise: for embeddings, heads, routers, biases and norms.
        leaves: a tree of `Leaf`, or a callable that makes it from the parameters; default: names and ranks.
        rules: pairs of a path glob and a role, ``"other"``, ``"frozen"`` or a `Leaf`; the first match wins.

    Returns:
        `optax.multi_transform` with groups ``hidden``, ``other`` and ``frozen``.

    Raises:
        ValueError: where axes are given and a built transformation could not hear of them; in an update, where
            gradients or state are of other parameters, naming them.

    Example:
        >>> import functools, optax, optax_muon as om
        >>> tx = om.for_matrices(om.muon(0.02), otherwise=optax.adamw(3e-4), rules=[("lm_out/*", "head")])
        >>> scanned = [("layers/*/kernel", om.Leaf("hidden", 1, 2))]
        >>> tx = om.for_matrices(functools.partial(om.muon, 0.02), optax.adamw(3e-4), rules=scanned)
    """
    built = isinstance(tx_or_make, optax.GradientTransformation)
    says_axes = leaves is not None or any(isinstance(target, Leaf) or target == "hidden" for _, target in rules)
    if built and says_axes:
        raise ValueError(
            "for_matrices: axes are given (leaves, or a rule that makes a matrix) but the optimizer is already built "
            "and cannot hear of them; pass functools.partial(om.muon, 0.02) instead of om.muon(0.02)"
        )
    if isinstance(tx_or_make, optax.GradientTransformation):
        tx = tx_or_make
    else:
        tx = tx_or_make(leaves=functools.partial(resolve, leaves=leaves, rules=rules))
    groups: dict[Any, optax.GradientTransformation] = {"hidden": tx, "other": otherwise, "frozen": optax.set_to_zero()}

    def group(params: PyTree) -> PyTree[str]:
        def name(role: str) -> str:
            return role if role in groups else "other"

        return map_by_path(lambda path, role: name(role), label(params, leaves, rules))

    partition = optax.multi_transform(groups, group, mask_compatible_extra_args=True)

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **extra_args: Any) -> tuple[PyTree, PyTree]:
        try:
            return partition.update(updates, state, params, **extra_args)
        except (TypeError, ValueError):
            if params is not None:
                check_gradients(updates, params)
            check_state(partition, updates if params is None else params, state)
            raise

    return optax.GradientTransformationExtraArgs(partition.init, update)


def dimension_numbers(leaves: PyTree[Leaf]) -> PyTree:
    """Turn leaves into the dimension numbers of `optax.contrib.muon`: None where not hidden.

    Raises:
        ValueError: naming a leaf with a split, which that optimizer cannot express.
    """

    def convert(path: str, leaf: Leaf) -> Any:
        if leaf.role != "hidden":
            return None
        if leaf.split is not None:
            raise ValueError(
                f"{path}: optax.contrib.muon has no split {leaf.split.sizes}; separate the parameter instead"
            )
        return optax.contrib.MuonDimensionNumbers(leaf.reduction, leaf.output)

    return map_by_path(convert, leaves)
