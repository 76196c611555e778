"""Of which parameters rules and given leaves speak; of none is a slip that would train a head as a hidden matrix."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import optax
from jaxtyping import PyTree

from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path, matches


def spread(given: Mapping[str, Leaf], paths: Iterable[str]) -> dict[str, Leaf]:
    """Give every path below an inner node that has a leaf that leaf; those given stay."""
    # Upwards from the path, so that the nearest node wins over those above it.
    nodes = {path: next((node for node in _upwards(path) if node in given), None) for path in paths}
    return {**given, **{path: given[node] for path, node in nodes.items() if node is not None}}


def require_matches(params: PyTree, rules: Sequence[tuple[str, Any]], given: Iterable[str] = ()) -> None:
    """Raise where a rule, or the path of a given leaf, matches no parameter of a whole tree.

    A rule that earlier ones leave nothing to decide has matched. A tree with `optax.MaskedNode` is a part of one, and
    an empty one is what `optax.tree.map_params` asks with: of these nothing is asked.

    Raises:
        ValueError: naming each of them and the nearest path.
    """
    paths = by_path(params)
    if not paths or _is_part(params):
        return
    nodes = {node for path in paths for node in _upwards(path)}
    idle = [(f"rule {glob!r}", glob) for glob, _ in rules if not any(matches(path, glob) for path in paths)]
    idle += [(f"leaf {path!r}", path) for path in given if path not in nodes]
    if idle:
        lines = "".join(f"\n  {what}: the nearest is {_nearest(path, paths)!r}" for what, path in idle)
        raise ValueError(
            f"these match none of {len(paths)} parameters:{lines}\n"
            "Correct the path, or say strict=False where one set of rules serves several models."
        )


def _upwards(path: str) -> list[str]:
    """A path and the inner nodes above it, the root last: ``a/b``, ``a`` and the empty path."""
    tokens = path.split("/") if path else []
    return ["/".join(tokens[:n]) for n in range(len(tokens), -1, -1)]


def _is_part(params: PyTree) -> bool:
    """Tell whether a mask has taken something out of a tree."""
    leaves = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
    return any(isinstance(x, optax.MaskedNode) for x in leaves)


def _nearest(glob: str, paths: Iterable[str]) -> str:
    """The path one of whose tails is most like a glob, which may leave out what stands before it."""

    def likeness(path: str) -> float:
        """Measure the best of the path's tails, in [0, 1]."""
        tokens = path.split("/")
        tails = ("/".join(tokens[n:]) for n in range(len(tokens)))
        return max(difflib.SequenceMatcher(None, glob.replace("*", ""), tail).ratio() for tail in tails)

    return max(paths, key=likeness)
