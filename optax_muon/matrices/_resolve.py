"""The leaf of every parameter of a tree, whoever tells it: a rule, a given tree, or names and ranks."""

from collections.abc import Callable

from jaxtyping import PyTree

from optax_muon.matrices._by_name import Finding, Rules, find
from optax_muon.matrices._coverage import require_matches
from optax_muon.matrices._leaf import Leaf, Role
from optax_muon.matrices._paths import by_path, map_by_path

Leaves = PyTree[Leaf] | Callable[[PyTree], PyTree[Leaf]]


def findings(
    params: PyTree, leaves: Leaves | None = None, rules: Rules = (), *, strict: bool = False
) -> dict[str, Finding]:
    """Find every parameter's leaf: the first matching rule, else ``leaves`` if given, else its name and rank.

    Raises:
        UnknownLeafError: naming a parameter that nothing tells of, or that ``leaves`` lacks.
        ValueError: where ``strict``, for a rule or a given leaf that matches no parameter.
    """
    tree = leaves(params) if callable(leaves) else leaves
    given = None if leaves is None else by_path(tree, is_leaf=lambda x: isinstance(x, Leaf))
    if strict:
        require_matches(params, rules, given or {})
    return find(params, rules, given)


def resolve(params: PyTree, leaves: Leaves | None = None, rules: Rules = ()) -> PyTree[Leaf]:
    """Give a tree like ``params`` with the `Leaf` of every array."""
    return map_by_path(lambda path, x, found: found.leaf, params, findings(params, leaves, rules))


def accepted(tree: PyTree, leaves: Leaves | None = None, roles: tuple[Role, ...] = ("hidden",)) -> dict[str, Leaf]:
    """Give the leaf of every array, by path, where all have one of ``roles``.

    Raises:
        ValueError: naming a leaf of another role, and the cure.
    """
    table = {path: found.leaf for path, found in findings(tree, leaves).items()}
    for path, leaf in table.items():
        if leaf.role not in roles:
            raise ValueError(
                f"{path}: a {leaf.role} reached an optimizer for {' and '.join(roles)} matrices; split the tree with "
                "om.for_matrices(tx, otherwise=...), or give a rule if this is a matrix"
            )
    return table
