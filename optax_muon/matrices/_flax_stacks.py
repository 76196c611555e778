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


def choose(shapes: Mapping[str, Sequence[int]], possible: Mapping[str, Sequence[Axes]]) -> dict[str, tuple[Axes, bool]]:
    """Choose every parameter's axes, by path, and tell whether that was a guess.

    Where lengths agree by chance several axes fit; then the parameters around it decide, nearest first, since the
    transformation that stacked them put its axis in one place, counted from the front or from the back. If that does
    not decide, the leading axes are taken.
    """
    certain = {path: sets[0] for path, sets in possible.items() if len(sets) == 1}
    known = -1
    while len(certain) > known:  # what is settled settles others
        known = len(certain)
        for path, sets in possible.items():
            agreed = _agreed(path, sets, shapes, certain)
            if path not in certain and len(agreed) == 1:
                certain[path] = agreed[0]
    chosen = {path: (certain[path], False) for path in certain}
    for path, sets in possible.items():
        if sets and path not in certain:
            chosen[path] = (_agreed(path, sets, shapes, certain) or sets)[0], True
    return chosen


def _agreed(
    path: str, sets: Sequence[Axes], shapes: Mapping[str, Sequence[int]], certain: Mapping[str, Axes]
) -> Sequence[Axes]:
    """Those of the sets that parameters with as many stacked axes agree with, in the narrowest circle that decides."""
    tokens, best = path.split("/"), []
    for n in range(len(tokens) - 1, -1, -1):
        prefix = "".join(f"{token}/" for token in tokens[:n])
        near = [(axes, len(shapes[at])) for at, axes in certain.items() if at.startswith(prefix)]
        told = _told([(axes, rank) for axes, rank in near if sets and len(axes) == len(sets[0])], len(shapes[path]))
        agreed = [axes for axes in sets if axes in told]
        if len(agreed) == 1:
            return agreed
        best = best or agreed
    return best


def lifted(leaf: Leaf, rank: int, stack: Axes) -> Leaf:
    """Move axes of a module's own shape to where they stand among ``rank`` axes, of which ``stack`` are new."""
    kept = [axis for axis in range(rank) if axis not in stack]
    reduction, output = (tuple(kept[axis] for axis in axes) for axes in (leaf.reduction, leaf.output))
    return dataclasses.replace(leaf, reduction=reduction, output=output)


def _told(near: Sequence[tuple[Axes, int]], rank: int) -> set[Axes]:
    """Axes of a parameter of this rank that agree with those of others, counted from the front or from the back."""
    front = {axes for axes, _ in near}
    back = {tuple(axis - length + rank for axis in axes) for axes, length in near}
    return {axes for found in (front, back) if len(found) == 1 for axes in found}


def _fits(lengths: Sequence[int], inner: Sequence[int | None]) -> bool:
    return all(wanted in (None, found) for found, wanted in zip(lengths, inner, strict=True))
