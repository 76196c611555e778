"""Truths in one line: ``hidden io/3`` is a matrix (in, 3 out) that holds three, ``hidden bioo`` one for every layer.

One letter for every axis: ``i`` is summed over in the product (reduction), ``o`` is made by it (output), ``b`` numbers
matrices (layers, experts). After a stroke stand the pieces into which the model cuts the output (or, after ``<``, the
input): a number of equal ones, or their sizes; ``?`` where the equations allow one matrix as well as several. Roles
that are a matter of taste stand side by side: ``head|hidden io``.
"""

import fnmatch
import math
from collections.abc import Sequence
from typing import NamedTuple

import optax_muon as om
from optax_muon.matrices._leaf import Split


class Truth(NamedTuple):
    """What one parameter is: roles that are right, axes, pieces, and whether the pieces may stay together."""

    roles: tuple[str, ...]
    reduction: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    split: tuple[int, ...] | None = None
    whole_too: bool = False
    side: str = "output"


def parse(text: str, shape: Sequence[int]) -> Truth:
    """Read one line's truth of a parameter of this shape; axes of length one may be written as any letter."""
    names, _, axes = text.partition(" ")
    roles = tuple(names.split("|"))
    if roles == ("vector",):
        return Truth(roles)
    side = "reduction" if "<" in axes else "output"
    mask, _, cut = axes.replace("<", "/").partition("/")
    assert len(mask) == len(shape), (text, shape)
    assert set(mask) <= set("iob"), text
    reduction, output = (tuple(i for i, letter in enumerate(mask) if letter == side) for side in "io")
    whole_too = cut.endswith("?")
    sizes = [int(n) for n in cut.rstrip("?").split(",")] if cut else []
    length = math.prod(shape[axis] for axis in (reduction if side == "reduction" else output))
    if len(sizes) == 1:
        sizes = [length // sizes[0]] * sizes[0]
    assert not sizes or sum(sizes) == length, (text, shape)
    return Truth(roles, reduction, output, tuple(sizes) or None, whole_too, side)


def lookup(lines: Sequence[tuple[str, str]], path: str, shape: Sequence[int]) -> str:
    """Return the truth of a path: the first glob that matches, with as many letters as the parameter has axes."""
    for glob, text in lines:
        mask = text.partition(" ")[2].replace("<", "/").partition("/")[0]
        # A glob that starts with a stroke stands for the whole path, as in a shell.
        if fnmatch.fnmatchcase(f"/{path}", glob if glob[0] == "/" else f"*/{glob}") and len(mask) in (0, len(shape)):
            return text
    raise LookupError(f"no truth for {path} {tuple(shape)}")


def agrees(leaf: om.Leaf, truth: Truth, shape: Sequence[int]) -> bool:
    """Whether a reading is right: the role, and for a matrix the axes and its pieces."""
    if leaf.role not in truth.roles:
        return False
    if leaf.role == "vector":
        return True

    def long(axes: Sequence[int]) -> set[int]:
        return {axis % len(shape) for axis in axes if shape[axis] > 1}

    if long(leaf.reduction) != long(truth.reduction) or long(leaf.output) != long(truth.output):
        return False
    if leaf.role != "hidden":
        return True
    if leaf.split is None:
        return truth.split is None or truth.whole_too
    return truth.split is not None and leaf.split == Split(truth.split, truth.side)  # pyright: ignore[reportArgumentType]
