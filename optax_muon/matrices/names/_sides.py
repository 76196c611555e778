"""The two sides of a kernel, and what its bias says of them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from optax_muon.matrices.names import _words as words
from optax_muon.matrices.names._tree import Shape

Sides = tuple[tuple[int, ...], tuple[int, ...]]
IN_OUT: Sides = ((0,), (1,))
OUT_IN: Sides = ((1,), (0,))
ATTENTION = {*words.QUERY_KEY_VALUE, *words.FUSED_QKV, *words.FUSED_KV, *words.ATTENTION_OUT}


class Axes(NamedTuple):
    """Axes of one kernel, counted without the one that numbers layers.

    Attributes:
        reduction: summed over.
        output: made.
        why: what told.
        sure: whether that leaves no doubt.
    """

    reduction: tuple[int, ...]
    output: tuple[int, ...]
    why: str
    sure: bool = True


def sides_by_bias(shape: Shape, bias: Shape | None) -> list[Sides]:
    """Return all ways to read a kernel (*batch, *in, *out) whose bias is (*batch, *out)."""
    if bias is None or not 0 < len(bias) < len(shape):
        return []
    found = []
    for n in range(len(bias)):
        outputs = len(bias) - n
        if shape[:n] == bias[:n] and shape[len(shape) - outputs :] == bias[n:]:
            found.append((tuple(range(n, len(shape) - outputs)), tuple(range(len(shape) - outputs, len(shape)))))
    return found


def entries_along(shape: Shape, axes: Sequence[int]) -> int:
    """Number of entries along axes."""
    return math.prod(shape[axis] for axis in axes)
