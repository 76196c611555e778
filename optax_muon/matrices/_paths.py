"""Paths: the one name of a parameter, the same at init, at update and in a checkpoint."""

import collections
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import jax
from jaxtyping import PyTree

# Names follow from a tree's structure alone, every stage of an update asks for them, and JAX composes key paths in
# Python. A program has a handful of structures; a bound keeps the cache of one that makes them in a loop small.
# A structure keeps the static parts of its nodes and no leaf.
KNOWN_STRUCTURES = 64
_names: dict[Any, tuple[str, ...]] = {}
# Classes of Flax that hold one parameter each, and what these are called in all its releases.
BOXES = ("AxisMetadata", "Variable", "VariableState")


def by_path(tree: PyTree, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Flatten a tree to path -> leaf, e.g. ``layers/0/attention/query/kernel``; optax's MaskedNode and None vanish.

    Raises:
        ValueError: naming two leaves that have one path, as of ``{"a/b": x, "a": {"b": y}}``.
    """
    names, leaves, _ = _flatten(tree, is_leaf)
    return dict(zip(names, leaves, strict=True))


def shapes_by_path(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """Return the shape of every leaf; numbers have none."""
    return {path: tuple(getattr(x, "shape", ())) for path, x in by_path(tree).items()}


def map_by_path(f: Callable[..., Any], tree: PyTree, *tables: Mapping[str, Any]) -> PyTree:
    """Map ``f(path, leaf, *entries)`` over a tree, where each table holds an entry for every path."""
    names, leaves, structure = _flatten(tree)
    mapped = [f(name, x, *[table[name] for table in tables]) for name, x in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(structure, mapped)


def matches(path: str, pattern: str) -> bool:
    """Tell whether a glob matches a whole path or its tail: ``lm_head/*`` fits ``model/lm_head/kernel``.

    ``*`` also crosses slashes. A path matches itself, whatever characters it has, and ``/kernel`` is the whole path
    ``kernel`` alone.
    """
    if pattern.startswith("/"):
        return f"/{path}" == pattern or fnmatchcase(f"/{path}", pattern)
    # fnmatchcase, not fnmatch: the latter ignores case on some systems. In "w[0]" it would read a set of characters.
    return f"/{path}".endswith(f"/{pattern}") or fnmatchcase(f"/{path}", f"*/{pattern}")


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
    paths = list(_keys(tree, is_leaf))
    # Simple keys: an attribute, a dict's key and a list's index read alike, so NNX, Linen and checkpoints agree.
    names = tuple(jax.tree_util.keystr(path, simple=True, separator="/") for path in paths)
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        # A table by path would keep one of them, and give both its update.
        same = " and ".join(jax.tree_util.keystr(p) for p, name in zip(paths, names, strict=True) if name == twice[0])
        raise ValueError(f"{same} have one path, {twice[0]!r}; rename a key, since rules and leaves speak of paths")
    return names


def _keys(tree: PyTree, is_leaf: Callable[[Any], bool] | None) -> Iterator[tuple[Any, ...]]:
    """Key paths of a tree's leaves, without the attribute by which Flax's boxes hold theirs.

    `nnx.Optimizer` and Linen's boxes show it at init, but not at update; anyone else's ``value`` is a name.
    """

    def ends(x: Any) -> bool:
        """Stop at what the caller takes for a leaf, and at boxes."""
        return (is_leaf is not None and is_leaf(x)) or (x is not tree and _is_box(x))

    for path, x in jax.tree_util.tree_flatten_with_path(tree, is_leaf=ends)[0]:
        inside = path[1:] if _is_box(tree) and path and getattr(path[0], "name", None) == "value" else path
        if x is not tree and _is_box(x) and not (is_leaf is not None and is_leaf(x)):
            yield from ((*inside, *tail) for tail in _keys(x, is_leaf))
        else:
            yield inside


def _is_box(x: Any) -> bool:
    """Tell a box of Flax, which need not be imported for it."""
    return any(base.__name__ in BOXES and base.__module__.startswith("flax.") for base in type(x).__mro__)
