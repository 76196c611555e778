"""First and last layers of a model that is not called, told by widths: what no other layer makes or takes."""

import collections
import dataclasses
import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optax_muon.matrices._leaf import Leaf

FUSED = 8
"""A layer may make up to so many projections side by side: gates, query, key and value, shifts and scales."""
IMAGE = 4
"""Channels of an image: no convolution inside a model has so few."""


def ends(
    shapes: Mapping[str, Sequence[int]], leaves: Mapping[str, Leaf], convolutions: Collection[str]
) -> dict[str, Leaf]:
    """Find heads, whose outputs no layer takes, and input layers, whose inputs no layer makes.

    Only layers that nothing else has settled are looked at: the others keep the role that their names tell.
    """
    matrices = {path: leaf for path, leaf in leaves.items() if leaf.output and leaf.reduction}
    takes = {path: _taken(shapes[path], leaf, path in convolutions) for path, leaf in matrices.items()}
    makes = {path: math.prod(shapes[path][axis] for axis in leaf.output) for path, leaf in matrices.items()}
    norms = {n for path, leaf in leaves.items() if leaf.role == "vector" for n in _norm(path, shapes[path])}
    open_ = [path for path, leaf in matrices.items() if leaf.role == "hidden" and leaf.split is None]
    # As wide as what it takes: such a layer may stand anywhere.
    open_ = [p for p in open_ if (leaves[p].assumed or p in convolutions) and takes[p] != makes[p]]
    open_ = _single(open_, shapes)
    heads, inputs = {}, {}
    for path in open_:
        # Grey images are no layer's outputs.
        grey = {other for other in convolutions if takes.get(other) == 1}
        others = {n for other, n in takes.items() if other not in {path, *grey} and leaves[other].role != "embedding"}
        width = makes[path]
        if (others := others | norms) and not any(width == k * n for n in others for k in range(1, FUSED + 1)):
            heads[path] = f"no other layer takes its {width} outputs"
    for path in open_:
        others = {n for other, n in makes.items() if other not in {path, *heads} and leaves[other].role != "head"}
        width = takes[path]
        # A multiple may be a flattened image, or several inputs side by side.
        if path not in heads and others and not any(width % n == 0 for n in others if n > 1):
            inputs[path] = f"no other layer makes its {width} inputs"
    found = {path: _with(leaves[path], "head", why, True) for path, why in heads.items()}
    # A model of one layer is head and input at once; a head it stays.
    return found | {
        path: _with(leaves[path], "input", why, takes[path] > IMAGE or path not in convolutions)
        for path, why in inputs.items()
    }


def _single(paths: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> Sequence[str]:
    """Leave out layers that blocks repeat; where all of them repeat, whole models do, and each has its ends."""
    alike = collections.Counter((_within_block(path), tuple(shapes[path])) for path in shapes)
    single = [path for path in paths if alike[_within_block(path), tuple(shapes[path])] == 1]
    return single or paths


def _within_block(path: str) -> str:
    """Path of a layer, with its own number but without those of the blocks around it."""
    *around, layer, name = ["", *path.split("/")]
    return "/".join([*(re.sub(r"\d+", "", token) for token in around), layer, name])


def _taken(shape: Sequence[int], leaf: Leaf, convolution: bool) -> int:
    """Width of the inputs: of a convolution its channels, which stand after the window."""
    return shape[leaf.reduction[-1]] if convolution else math.prod(shape[axis] for axis in leaf.reduction)


def _norm(path: str, shape: Sequence[int]) -> Sequence[int]:
    """Width that a norm takes; what it is called tells it from a bias, which belongs to what makes the width."""
    return shape if len(shape) == 1 and path.split("/")[-1] in ("scale", "weight", "w", "gamma") else ()


def _with(leaf: Leaf, role: Any, why: str, assumed: bool) -> Leaf:
    return dataclasses.replace(leaf, role=role, why=f"{why}; {leaf.why}", assumed=assumed)
