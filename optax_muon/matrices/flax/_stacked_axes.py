"""Axes that number stacked layers: those that a parameter has beyond its module's own shape."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from optax_muon.matrices._leaf import Leaf

Axes = tuple[int, ...]


def candidates(shape: Sequence[int], inner: Sequence[int | None]) -> list[Axes]:
    """Return every set of axes without which ``shape`` is ``inner``, None fitting any length; leading ones first."""
    extra = len(shape) - len(inner)
    if extra < 0:
        return []
    sets = itertools.combinations(range(len(shape)), extra)
    return [axes for axes in sets if _fits([n for i, n in enumerate(shape) if i not in axes], inner)]


def choose_axes(
    shapes: Mapping[str, Sequence[int]], possible: Mapping[str, Sequence[Axes]]
) -> dict[str, tuple[Axes, bool]]:
    """Choose every parameter's axes, by path, and tell whether that was a guess.

    Where lengths agree by chance several axes fit; then the parameters around it decide, nearest first, since the
    transformation that stacked them put its axis in one place, counted from the front or from the back. If that does
    not decide, the leading axes are taken.

    Four kernels (4, 32) stacked to (4, 4, 32) may be numbered by axis 0 or by axis 1. If the four kernels (32, 4) of
    the same block make (4, 32, 4), those can only be numbered by axis 0, which decides for both.

    Example:
        >>> shapes = {"mlp/up/kernel": (4, 4, 32), "mlp/down/kernel": (4, 32, 4)}
        >>> possible = {"mlp/up/kernel": candidates((4, 4, 32), (4, 32)), "mlp/down/kernel": [(0,)]}
        >>> possible["mlp/up/kernel"], choose_axes(shapes, possible)["mlp/up/kernel"]
        ([(0,), (1,)], ((0,), False))
    """
    # Square kernels in stacks as deep as they are wide fit in several ways, and only their neighbours tell.
    certain = {path: sets[0] for path, sets in possible.items() if len(sets) == 1}
    known = -1
    while len(certain) > known:  # what is settled settles others
        known = len(certain)
        for path in [path for path, sets in possible.items() if sets and path not in certain]:
            agreed = _agreed(path, possible[path], shapes, certain)
            if len(agreed) == 1:
                certain[path] = agreed[0]
    chosen = {path: (certain[path], False) for path in certain}
    for path, sets in possible.items():
        if sets and path not in certain:
            chosen[path] = (_agreed(path, sets, shapes, certain) or sets)[0], True
    return chosen


def _agreed(
    path: str, sets: Sequence[Axes], shapes: Mapping[str, Sequence[int]], certain: Mapping[str, Axes]
) -> Sequence[Axes]:
    """Those of the sets that parameters of as long a stack agree with, in the narrowest circle that decides."""
    tokens, best = path.split("/"), []
    like = {at: axes for at, axes in certain.items() if _lengths(shapes[at], axes) == _lengths(shapes[path], sets[0])}
    # The whole model is no circle: another stack in it may have been put together in another way.
    for n in range(len(tokens) - 1, min(1, len(tokens) - 1) - 1, -1):
        prefix = "".join(f"{token}/" for token in tokens[:n])
        near = [(axes, len(shapes[at])) for at, axes in like.items() if at.startswith(prefix)]
        agreed = [axes for axes in sets if axes in _told(near, len(shapes[path]))]
        if len(agreed) == 1:
            return agreed
        best = best or agreed
    return best


def _lengths(shape: Sequence[int], axes: Axes) -> list[int]:
    """Lengths of the axes that number layers."""
    return [shape[axis] for axis in axes]


def lifted(leaf: Leaf, rank: int, stack: Axes) -> Leaf:
    """Move axes of a module's own shape to where they stand among ``rank`` axes, of which ``stack`` are new."""
    kept = [axis for axis in range(rank) if axis not in stack]
    reduction, output = (tuple(kept[axis] for axis in axes) for axes in (leaf.reduction, leaf.output))
    return dataclasses.replace(leaf, reduction=reduction, output=output)


def _told(near: Sequence[tuple[Axes, int]], rank: int) -> set[Axes]:
    """Axes of a parameter of this rank that agree with those of others, each counted from the front or the back."""
    places: list[set[int]] = []
    for one in zip(*([(axis, axis - length + rank) for axis in axes] for axes, length in near), strict=True):
        # Counted from the front and from the back; either counts only where all witnesses give one place.
        ways = [set(way) for way in zip(*one, strict=True)]
        places.append({axis for way in ways if len(way) == 1 for axis in way})
    return set(itertools.product(*places)) if places else set()


def _fits(lengths: Sequence[int], inner: Sequence[int | None]) -> bool:
    """Tell whether lengths are as wanted, None fitting any."""
    return all(wanted in (None, found) for found, wanted in zip(lengths, inner, strict=True))
