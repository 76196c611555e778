"""The leaf of every parameter of a tree, whoever tells it: a rule, a given tree, or names and ranks."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, get_args

import jax
from jaxtyping import PyTree

from optax_muon.matrices._by_name import Finding, Rules, UnknownLeafError
from optax_muon.matrices._coverage import require_matches, spread
from optax_muon.matrices._doubt import speak_of_doubt
from optax_muon.matrices._leaf import Leaf, Role
from optax_muon.matrices._paths import by_path, map_by_path, matches, shapes_by_path
from optax_muon.matrices._question import Question
from optax_muon.matrices._shard_view import bound_axes, require_specs, shard_view, whole_shape
from optax_muon.matrices._suggest import Unknown, likely, message
from optax_muon.matrices.names._whole import read_part
from optax_muon.matrices.names._words import VECTOR_NAME

Leaves = PyTree[Leaf] | Callable[[PyTree], PyTree[Leaf]]


def findings(
    params: PyTree, leaves: Leaves | None = None, rules: Rules = (), *, strict: bool = False
) -> Mapping[str, Finding]:
    """Find every parameter's leaf: the first matching rule, else ``leaves`` if given, else its name, shape and place.

    Every stage of an optimizer asks for the same tree, so answers are kept.

    Raises:
        UnknownLeafError: naming a parameter that nothing tells of, or that ``leaves`` lacks.
        ValueError: where ``strict``, for a rule or a given leaf that matches no parameter.
    """
    tree = leaves(params) if callable(leaves) and not _holds_leaves(leaves) else leaves
    given = None if leaves is None else by_path(tree, is_leaf=lambda x: isinstance(x, Leaf))
    if strict:
        require_matches(params, rules, given or {})
    return find(params, rules, given)


def _holds_leaves(tree: Any) -> bool:
    """Tell a tree of leaves that can be called, as the leaves of an Equinox model can."""
    return any(isinstance(x, Leaf) for x in jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, Leaf)))


def resolve(params: PyTree, leaves: Leaves | None = None, rules: Rules = ()) -> PyTree[Leaf]:
    """Give a tree like ``params`` with the `Leaf` of every array."""
    return map_by_path(lambda path, x, found: found.leaf, params, findings(params, leaves, rules))


def resolved(tree: PyTree, leaves: Leaves | None = None) -> dict[str, Leaf]:
    """Give the leaf of every array, by path, of whatever role.

    Raises:
        ValueError: inside `jax.shard_map`, naming a shard of which nothing says how it is cut.
    """
    require_specs(by_path(tree), table := {path: found.leaf for path, found in findings(tree, leaves).items()})
    return table


def cutting_axes(tree: PyTree, leaves: Leaves | None = None) -> dict[str, tuple[str, ...]]:
    """Give, by path, the axes of the caller's own map that cut every array; outside of a map none does.

    A rule that treats all entries alike asks for leaves only there, where their specs tell what each array is part of.

    Raises:
        ValueError: as `resolved` does, inside a map.
    """
    arrays = by_path(tree)
    if not bound_axes():
        return dict.fromkeys(arrays, ())
    table = resolved(tree, leaves)
    return {path: shard_view(x.shape, table[path]).axes(range(x.ndim)) for path, x in arrays.items()}


def accepted(tree: PyTree, leaves: Leaves | None = None, roles: tuple[Role, ...] = ("hidden",)) -> dict[str, Leaf]:
    """Give the leaf of every array, by path, where all have one of ``roles``.

    Raises:
        ValueError: naming a leaf of another role, and the cure; inside `jax.shard_map`, as `resolved` does.
    """
    table = {path: _sent(found) for path, found in findings(tree, leaves).items()}
    require_specs(by_path(tree), table)
    # An input layer is a hidden matrix to whom sends it here: `labels` names it so unless asked.
    also = ("input",) if "hidden" in roles else ()
    for path, leaf in table.items():
        if leaf.role not in roles + also:
            raise ValueError(
                f"{path}: a {leaf.role} reached an optimizer for {' and '.join(roles)} matrices; split the tree with "
                "om.for_matrices(tx, otherwise=...), or give a rule if this is a matrix"
            )
    return table


def _sent(found: Finding) -> Leaf:
    """Take for a matrix what only its place in the tree made a head: whoever sends it here knows more."""
    return dataclasses.replace(found.leaf, role="hidden") if found.assumed and found.leaf.role == "head" else found.leaf


def leaves(params: PyTree, rules: Rules = (), *, strict: bool | None = None) -> PyTree[Leaf]:
    """Tell the role and axes of every parameter of a plain tree (dicts, `nnx.State`, Linen params).

    Args:
        params: arrays or `jax.ShapeDtypeStruct` objects.
        rules: pairs of a path glob and a role, ``"other"``, ``"frozen"`` or a `Leaf`; the first match wins. A glob
            matches a whole path or its tail; ``*`` crosses slashes.
        strict: as for `for_matrices`, which warns of what is assumed here.

    Returns:
        A tree like ``params`` with a `Leaf` for every array, which keeps why it is so and whether that is assumed.

    Raises:
        UnknownLeafError: naming the parameters that need a rule.
        ValueError: naming a rule that matches nothing, and the nearest path.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> om.leaves({"up": {"kernel": jnp.zeros((8, 32))}})["up"]["kernel"].output
        (1,)
    """
    if strict is not False:
        require_matches(params, rules)
    found = find(params, rules)
    if strict:
        speak_of_doubt(found, shapes_by_path(params), strict)
    return map_by_path(
        lambda path, x, entry: dataclasses.replace(entry.leaf, why=entry.reason, assumed=entry.assumed), params, found
    )


def find(
    params: PyTree,
    rules: Rules = (),
    given: Mapping[str, Leaf] | None = None,
    problems: Mapping[str, str] = MappingProxyType({}),
) -> Mapping[str, Finding]:
    """Find the leaf of every parameter: the first matching rule, else the ``given`` one, else its name and rank.

    A rule that names a role keeps the axes of the ``given`` leaf; ``problems`` say why one is not given.

    Raises:
        UnknownLeafError: naming every parameter that needs a rule.
    """
    shapes = shapes_by_path(params)
    if given is not None and not shapes.keys() <= given.keys():
        given = spread(given, shapes)
    return _answer(Question(shapes, rules, given, problems, read_part(params, shapes)))


# A program has a few trees, each whole and in the parts that its optimizers see.
@functools.lru_cache(maxsize=32)
def _answer(question: Question) -> Mapping[str, Finding]:
    """Find the leaf of every parameter, and say in one error all that is not known."""
    shapes, only_names = question.shapes, not question.rules and question.given is None
    findings: dict[str, Finding] = {}
    unknown: dict[str, Unknown] = {}
    for path, shape in shapes.items():
        try:
            told = None if only_names else _by_rule(path, question) or _given(path, question)
            findings[path] = told or question.by_name(path)
        except UnknownLeafError as error:
            unknown[path] = Unknown(str(error), error.rule)
            continue
        if told:  # names give axes that fit
            told.leaf.check(path, shape if told.leaf.spec is None else whole_shape(shape, told.leaf, path))
    if unknown:
        raise UnknownLeafError(message(unknown, shapes))
    return MappingProxyType(findings)


def _given(path: str, question: Question) -> Finding | None:
    """Find a parameter's leaf among the given ones."""
    if question.given is None:
        return None
    if path not in question.given:
        missing = f"the given leaves have no such path; they have {', '.join(question.examples)}, ..."
        raise UnknownLeafError(question.problems.get(path, missing))
    leaf = question.given[path]
    return Finding(leaf, leaf.why, leaf.assumed)


def _by_rule(path: str, question: Question) -> Finding | None:
    """Find a parameter's leaf by the first rule that matches; None where none does."""
    shape, known = question.shapes[path], (question.given or {}).get(path)
    for pattern, target in question.rules:
        if not matches(path, pattern):
            continue
        reason = f"rule {pattern!r}"
        if isinstance(target, Leaf):
            # A glob for weights takes the norms along, whose weight no axes fit.
            if len(shape) < 2 and target.output and question.has_matrices(pattern):
                return Finding(Leaf("vector"), f"{reason}; a vector")
            return Finding(target, reason)
        if target not in get_args(Role):
            raise ValueError(
                f"rule {pattern!r}: {target!r} is no role; use one of {', '.join(get_args(Role))}, or a Leaf"
            )
        if target not in ("hidden", "embedding", "head", "router", "input"):
            return Finding(Leaf(target), reason)  # pyright: ignore[reportArgumentType]
        # A role for a whole module takes its bias along, which stays a vector.
        is_vector = VECTOR_NAME.fullmatch(path.split("/")[-1]) if known is None else known.role == "vector"
        if len(shape) < 2 or (is_vector and target != "hidden"):
            return Finding(Leaf("vector"), f"{reason}; a vector")
        if known is None and target == "hidden":
            known = question.by_name(path).leaf
        if known is not None and known.role != "vector" and known.output:
            # Only hidden matrices are computed piece by piece.
            split = known.split if target == "hidden" else None
            return Finding(dataclasses.replace(known, role=target, split=split), reason)
        if len(shape) != 2:
            why = f"{reason} names a role, and rank {len(shape)} needs axes too: give a Leaf"
            raise UnknownLeafError(why, likely(shape, target))
        return Finding(Leaf(target, 0, 1), reason)  # pyright: ignore[reportArgumentType]
    return None
