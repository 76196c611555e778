"""Paths: the one name of a parameter, the same at init, at update and in a checkpoint."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax
from jaxtyping import PyTree

# Names follow from a tree's structure alone, every stage of an update asks for them, and JAX composes key paths in
# Python. A program has a handful of structures; a bound keeps the cache of one that makes them in a loop small.
# A structure keeps the static parts of its nodes and no leaf.
KNOWN_STRUCTURES = 64
_names: dict[Any, tuple[str, ...]] = {}


def normalized(path: tuple[Any, ...]) -> str:
    """Join a key path with slashes, e.g. ``layers/0/attention/query/kernel``.

    A trailing ``.value`` is dropped: `nnx.Optimizer` and Linen's boxes show it at init, but not at update.
    """
    if path and isinstance(path[-1], jax.tree_util.GetAttrKey) and path[-1].name == "value":
        path = path[:-1]
    # Simple keys: an attribute, a dict's key and a list's index read alike, so NNX, Linen and checkpoints agree.
    return jax.tree_util.keystr(path, simple=True, separator="/")


def by_path(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Flatten a tree to normalised path -> leaf; optax's MaskedNode and None vanish."""
    names, leaves, _ = _flatten(tree, is_leaf)
    return dict(zip(names, leaves, strict=True))


def map_by_path(f: Callable[..., Any], tree: PyTree, *tables: Mapping[str, Any]) -> PyTree:
    """Map ``f(path, leaf, *entries)`` over a tree, where each table holds an entry for every path."""
    names, leaves, structure = _flatten(tree)
    mapped = [f(name, x, *[table[name] for table in tables]) for name, x in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, mapped)


def matches(path: str, pattern: str) -> bool:
    """Tell whether a glob matches a whole path or its tail: ``lm_head/*`` fits ``model/lm_head/kernel``.

    ``*`` also crosses slashes.
    """
    # fnmatchcase, not fnmatch: the latter ignores case on some systems.
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}")


def _flatten(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> tuple[tuple[str, ...], list[Any], Any]:
    """Names, leaves and structure of a tree; names are composed once for every structure."""
    leaves, structure = jax.tree.flatten(tree, is_leaf=is_leaf)
    try:
        known = _names.get(structure)
    except (TypeError, ValueError):  # a node whose static part cannot be compared, such as an array
        return _compose(tree, is_leaf), leaves, structure
    if known is None:
        known = _compose(tree, is_leaf)
        if len(_names) >= KNOWN_STRUCTURES:
            _names.clear()
        _names[structure] = known
    return known, leaves, structure


def _compose(tree: PyTree, is_leaf: Callable[[Any], bool] | None) -> tuple[str, ...]:
    """Compose the names of a tree's leaves, in the order of `jax.tree.leaves`."""
    return tuple(normalized(path) for path, _ in jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_leaf)[0])
