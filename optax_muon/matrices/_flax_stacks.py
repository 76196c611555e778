"""Axes that number stacked layers: those that a parameter has beyond its module's own shape."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from optax_muon.matrices._leaf import Leaf

Axes = tuple[int, ...]


def candidates(shape: Sequence[int], inner: Sequence[int | None]) -> list[Axes]:
    """Give every set of axes without which ``shape`` is ``inner``, where None fits any length; leading ones first."""
    extra = len(shape) - len(inner)
    if extra < 0:
        return []
    sets = itertools.combinations(range(len(shape)), extra)
    return [axes for axes in sets if _fits([n for i, n in enumerate(shape) if i not in axes], inner)]


def choose(possible: Mapping[str, Sequence[Axes]]) -> dict[str, tuple[Axes, bool]]:
    """Choose every parameter's axes, by path, and tell whether that was a guess.

    Where lengths agree by chance several axes fit; then the parameters around it decide, nearest first, since the
    transformation that stacked them put all their new axes in one place. If none decides, the leading axes are taken.
    """
    certain = {path: sets[0] for path, sets in possible.items() if len(sets) == 1}
    chosen: dict[str, tuple[Axes, bool]] = {}
    for path, sets in possible.items():
        if not sets:
            continue
        tokens = path.split("/")
        near = (_around(certain, "/".join(tokens[:n]) + "/", len(sets[0])) for n in range(len(tokens) - 1, 0, -1))
        told = next((found for found in near if found), set())
        agreed = [axes for axes in sets if axes in told]
        chosen[path] = (agreed or list(sets))[0], len(sets) > 1 and len(agreed) != 1
    return chosen


def lifted(leaf: Leaf, rank: int, stack: Axes) -> Leaf:
    """Move axes of a module's own shape to where they stand among ``rank`` axes, of which ``stack`` are new."""
    kept = [axis for axis in range(rank) if axis not in stack]
    reduction, output = (tuple(kept[axis] for axis in axes) for axes in (leaf.reduction, leaf.output))
    return dataclasses.replace(leaf, reduction=reduction, output=output)


def _around(certain: Mapping[str, Axes], prefix: str, count: int) -> set[Axes]:
    return {axes for path, axes in certain.items() if path.startswith(prefix) and len(axes) == count}


def _fits(lengths: Sequence[int], inner: Sequence[int | None]) -> bool:
    return all(wanted in (None, found) for found, wanted in zip(lengths, inner, strict=True))
