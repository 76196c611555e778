"""Which parameter goes to which optimizer."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import optax
from jaxtyping import PyTree

from optax_muon._named import Named, saying
from optax_muon.matrices._by_name import Finding, Rules
from optax_muon.matrices._check_state import check_gradients, check_state
from optax_muon.matrices._doubt import speak_of_doubt
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import map_by_path, shapes_by_path
from optax_muon.matrices._resolve import Leaves, findings, resolve

DEAF = (
    "for_matrices: axes are given (leaves, or a rule that makes a matrix) but {who}; pass the named optimizer itself, "
    "as om.muon(0.02), or a callable that takes leaves, as lambda leaves: optax.chain(om.muon(0.02, leaves=leaves), "
    "...); what works on every leaf alike, such as clipping, may stand in a chain around for_matrices"
)


def label(
    params: PyTree, leaves: Leaves | None = None, rules: Rules = (), *, strict: bool | None = None, input: bool = False
) -> PyTree[str]:
    """Label every parameter with its role.

    Args:
        params: arrays or `jax.ShapeDtypeStruct` objects.
        leaves: as for `for_matrices`.
        rules: as for `for_matrices`.
        strict: as for `for_matrices`.
        input: label input layers ``input``; else they are hidden.

    Warns:
        AssumedLeafWarning: as `for_matrices` does.

    Raises:
        ValueError: for a model without a hidden matrix; for a rule or leaf that matches nothing.
    """
    found = findings(params, leaves, rules, strict=strict is not False)
    speak_of_doubt(found, shapes_by_path(params), strict)
    return _named(params, found, input)


def _named(params: PyTree, found: Mapping[str, Finding], input: bool) -> PyTree[str]:
    """Name every parameter's role."""
    if found and not any(entry.leaf.role == "hidden" for entry in found.values()):
        raise ValueError(
            f"no hidden matrix among {len(found)} parameters ({next(iter(found))}, ...): nothing for Muon to do"
        )

    def name(role: str) -> str:
        return "hidden" if role == "input" and not input else role

    return map_by_path(lambda path, x, entry: name(entry.leaf.role), params, found)


def labels(
    leaves: Leaves | None = None, rules: Rules = (), *, strict: bool | None = None, input: bool = False
) -> Callable[[PyTree], PyTree[str]]:
    """Make the labelling callable that `optax.multi_transform` takes; its groups are role names.

    Args:
        leaves: as for `for_matrices`.
        rules: as for `for_matrices`.
        strict: as for `for_matrices`.
        input: as for `label`.

    Example:
        >>> import optax, optax_muon as om
        >>> adam = optax.adamw(3e-4)
        >>> tx = optax.multi_transform(
        ...     {"hidden": om.muon(0.02), "embedding": adam, "head": adam, "vector": adam}, om.labels()
        ... )
    """
    return functools.partial(label, leaves=leaves, rules=rules, strict=strict, input=input)


def for_matrices(
    tx_or_make: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
    otherwise: optax.GradientTransformation,
    *,
    leaves: Leaves | None = None,
    rules: Rules = (),
    strict: bool | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Send hidden matrices to one optimizer and every other parameter to another.

    Axes are said once, here: a named optimizer is made again with them, and so is what `inject_hyperparams` makes, ours
    or optax's. A chain made by hand cannot be; give a callable that makes it from ``leaves=...``.

    Args:
        tx_or_make: a named optimizer, any other transformation, or a callable that makes one from ``leaves=...``, such
            as a `functools.partial` of a named optimizer.
        otherwise: for embeddings, heads, routers, input layers, biases and norms.
        leaves: a tree of `Leaf`, or a callable that makes it from the parameters; default: names and ranks. A `Leaf` at
            an inner node holds for every array below it.
        rules: pairs of a path glob and a role, ``"other"``, ``"frozen"`` or a `Leaf`; the first match wins.
        strict: by default a rule, or an entry of ``leaves``, that matches no parameter raises, and what is assumed
            warns. True raises for what is assumed too. False lets rules match nothing, for one set of them that
            serves several models. A rule whose every match an earlier one takes has matched; trees that `optax.masked`
            has cut are not looked at, since the rest may be what a rule is for.

    Returns:
        `optax.multi_transform` with groups ``hidden``, ``other`` and ``frozen``.

    Warns:
        AssumedLeafWarning: by ``init``, where roles or axes are assumed, with the rules that silence it.

    Raises:
        UnknownLeafError: by ``init``, for parameters that cannot be told; where ``strict``, for those assumed.
        ValueError: where axes are given and a built transformation could not hear of them, or has its own; by ``init``,
            for a rule or leaf that matches nothing, naming the nearest path; in an update, where gradients or state are
            of other parameters, naming them.

    Example:
        >>> import optax, optax_muon as om
        >>> tx = om.for_matrices(om.muon(0.02), otherwise=optax.adamw(3e-4), rules=[("lm_out/*", "head")])
        >>> scanned = [("layers/*/kernel", om.Leaf("hidden", 1, 2))]
        >>> tx = om.for_matrices(om.muon(0.02), otherwise=optax.adamw(3e-4), rules=scanned)
    """
    tx = _with_axes(tx_or_make, leaves, rules)
    groups: dict[Any, optax.GradientTransformation] = {"hidden": tx, "other": otherwise, "frozen": optax.set_to_zero()}

    def group(params: PyTree) -> PyTree[str]:
        """Name every parameter's group."""

        # Input layers by their name: they belong to the other optimizer, where `labels` calls them hidden.
        def name(role: str) -> str:
            return role if role in groups else "other"

        found = findings(params, leaves, rules, strict=strict is not False)
        return map_by_path(lambda path, role: name(role), _named(params, found, input=True))

    # Extra arguments shaped like the parameters, such as the gradients of another batch, are cut as they are.
    partition = optax.multi_transform(groups, group, mask_compatible_extra_args=True)

    def init(params: PyTree) -> PyTree:
        """Say what is assumed, once, and make the state."""
        found = findings(params, leaves, rules, strict=strict is not False)
        speak_of_doubt(found, shapes_by_path(params), strict)
        return partition.init(params)

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **extra_args: Any) -> tuple[PyTree, PyTree]:
        """Update, and where that cannot be say which parameter is to blame."""
        # Beforehand: a gradient (1, n) would be spread over a parameter (m, n) without an error.
        if params is not None:
            check_gradients(updates, params)
        try:
            return partition.update(updates, state, params, **extra_args)
        except (TypeError, ValueError):
            # Only now: what a state should be takes a trace of init, and JAX's own message names no parameter.
            check_state(partition, updates if params is None else params, state)
            raise

    return optax.GradientTransformationExtraArgs(init, update)


def _with_axes(
    tx_or_make: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
    leaves: Leaves | None,
    rules: Rules,
) -> optax.GradientTransformation:
    """Make the optimizer for the matrices, so that it takes the same leaves as the partition."""
    says_axes = leaves is not None or any(isinstance(target, Leaf) or target == "hidden" for _, target in rules)
    resolver = functools.partial(resolve, leaves=leaves, rules=rules)
    if not isinstance(tx_or_make, optax.GradientTransformation):
        own = isinstance(tx_or_make, functools.partial) and tx_or_make.keywords.get("leaves") is not None
        # A partial that has its leaves is complete: others would overrule them without a word.
        if own and says_axes:
            raise ValueError(DEAF.format(who="the optimizer has leaves of its own"))
        return tx_or_make() if own else tx_or_make(leaves=resolver)
    if not says_axes:
        return tx_or_make
    if isinstance(tx_or_make, Named) and tx_or_make.recipe is not None:
        if tx_or_make.recipe.has_leaves:
            raise ValueError(DEAF.format(who="the optimizer has leaves of its own"))
        return tx_or_make.recipe.remake(resolver)
    # What optax injects into is made inside its init and update, and is within earshot there.
    if getattr(tx_or_make.init, "__module__", None) == optax.inject_hyperparams.__module__:
        return _within_earshot(tx_or_make, resolver)
    raise ValueError(DEAF.format(who="the optimizer is already built and cannot hear of them"))


def _within_earshot(tx: optax.GradientTransformation, resolver: Leaves) -> optax.GradientTransformationExtraArgs:
    """Say the axes around every init and update of what `optax.inject_hyperparams` made."""
    tx = optax.with_extra_args_support(tx)

    def init(params: PyTree) -> PyTree:
        with saying(resolver) as said:
            state = tx.init(params)
        if not said.heard:
            raise ValueError(DEAF.format(who="what inject_hyperparams makes has leaves of its own or takes none"))
        return state

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **extra_args: Any) -> tuple[PyTree, PyTree]:
        # Whether it hears was settled by init, which raises where it does not.
        with saying(resolver):
            return tx.update(updates, state, params, **extra_args)

    return optax.GradientTransformationExtraArgs(init, update)


def dimension_numbers(leaves: PyTree[Leaf]) -> PyTree:
    """Turn leaves into the dimension numbers of `optax.contrib.muon`: None where not hidden.

    Raises:
        ValueError: naming a leaf with a split, which that optimizer cannot express.
    """

    def convert(path: str, leaf: Leaf) -> Any:
        """Write one leaf as optax does."""
        if leaf.role != "hidden":
            return None
        if leaf.split is not None:
            raise ValueError(
                f"{path}: optax.contrib.muon has no split {leaf.split.sizes}; separate the parameter instead"
            )
        return optax.contrib.MuonDimensionNumbers(leaf.reduction, leaf.output)

    return map_by_path(convert, leaves)
