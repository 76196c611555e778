"""Paths: the one name of a parameter, the same at init, at update and in a checkpoint."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax
from jaxtyping import PyTree


def normalized(path: tuple[Any, ...]) -> str:
    """Join a key path with slashes, e.g. ``layers/0/attention/query/kernel``.

    A trailing ``.value`` is dropped: `nnx.Optimizer` and Linen's boxes show it at init, but not at update.
    """
    if path and isinstance(path[-1], jax.tree_util.GetAttrKey) and path[-1].name == "value":
        path = path[:-1]
    # Simple keys: an attribute, a dict's key and a list's index read alike, so NNX, Linen and checkpoints agree.
    return jax.tree_util.keystr(path, simple=True, separator="/")


def by_path(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Flatten a tree to normalised path -> leaf; optax's MaskedNode and None vanish, having no leaves."""
    return {normalized(path): x for path, x in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)[0]}


def map_by_path(f: Callable[..., Any], tree: PyTree, *tables: Mapping[str, Any]) -> PyTree:
    """Map ``f(path, leaf, *entries)`` over a tree, where each table holds an entry for every path."""

    def visit(path, x):
        """Look the path up in every table."""
        name = normalized(path)
        return f(name, x, *(table[name] for table in tables))

    return jax.tree_util.tree_map_with_path(visit, tree)


def matches(path: str, pattern: str) -> bool:
    """Tell whether a glob matches a whole path or its tail: ``lm_head/*`` fits ``model/lm_head/kernel``.

    ``*`` also crosses slashes.
    """
    # fnmatchcase, not fnmatch: the latter ignores case on some systems.
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}")
