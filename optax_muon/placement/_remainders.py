"""Which remainders share places on the devices, so that they do not compute padding, and how matrices share one."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon.placement._buckets import Member, Size


class Span(NamedTuple):
    """Matrices ``start`` to ``stop`` of the stack ``index``."""

    index: int
    start: int
    stop: int


class Placed(NamedTuple):
    """Like matrices that travel as one stack, on consecutive places of a run.

    Attributes:
        first: place of the first matrix; those before it belong to another shape.
        spans: the matrices.
    """

    first: int
    spans: tuple[Span, ...]

    @property
    def end(self) -> int:
        """The place after the last matrix."""
        return self.first + sum(span.stop - span.start for span in self.spans)


class _Remainder(NamedTuple):
    """What a bucket leaves over: the long side of its matrices, their number, and the whole bucket's spans."""

    long: int
    count: int
    spans: tuple[Span, ...]


def share_remainders(
    buckets: Sequence[Sequence[Member]], stacks: Sequence[Size], devices: int, *, turn: bool
) -> list[list[Placed]]:
    """Give runs: cut what is left over a multiple of ``devices`` from every bucket and let remainders share a run.

    A run has a multiple of ``devices`` places, place ``i`` of ``k * devices`` on device ``i // k``. Remainders of one
    short side may share it: each still travels as a stack of its own, padded as it would be alone, and the owner of a
    place receives zeros from all shapes but one and computes their sum. Remainders are packed first fit, longest
    first, and only where that saves a run.

    In the example of `optax_muon.placement.exchange` two buckets, A and B (8, 32), C and D (32, 8), meet four
    devices. Alone each would be a run of four places, two of them padding. With ``turn`` both share one run: A and B
    are placed from 0, C and D from 2, so that device 2 adds zeros of shape (8, 32) to the transpose of C.

    Args:
        buckets: stacks of one matrix shape that travel together.
        stacks: what the members of the buckets refer to.
        devices: by which the places of every run are divisible.
        turn: an (n, m) matrix may share with an (m, n) one.
    """
    runs, shelves = [], {}
    for bucket in buckets:
        spans = tuple(Span(member.index, 0, stacks[member.index].shape[0]) for member in bucket)
        count = Placed(0, spans).end
        _, m, n = stacks[bucket[0].index].shape
        # There is no remainder, or nothing to compute.
        if not count % devices or not m * n:
            runs.append([Placed(0, spans)])
            continue
        # The cost grows with the square of the short side and only linearly with the long one, so zeros are added to
        # the long side alone. Tall matrices meet wide ones only where the map does not mind being transposed.
        key: tuple[Any, ...] = (min(m, n), turn or m <= n, stacks[bucket[0].index].dtype)
        shelves.setdefault(key, []).append(_Remainder(max(m, n), count % devices, spans))
    for remainders in shelves.values():
        # Longest first: all matrices of a run are padded to its longest.
        shared = _first_fit(sorted(remainders, key=lambda entry: -entry.long), devices)
        # No run is saved, so nothing is cut: fewer stacks travel.
        if len(shared) == len(remainders):
            runs += [[Placed(0, entry.spans)] for entry in remainders]
            continue
        for entries in shared:
            heads = [_cut(entry)[0] for entry in entries]
            runs += [[Placed(0, head)] for head in heads if head]
            runs.append([])
            for entry in entries:
                runs[-1].append(Placed(runs[-1][-1].end if runs[-1] else 0, _cut(entry)[1]))
    return runs


def _first_fit(remainders: Sequence[_Remainder], room: int) -> list[list[_Remainder]]:
    """Pack remainders in runs of ``room`` places, each in the first that still holds it."""
    packed: list[list[_Remainder]] = []
    for entry in remainders:
        fits = (held for held in packed if sum(other.count for other in held) + entry.count <= room)
        held = next(fits, None)
        if held is None:
            packed.append([entry])
        else:
            held.append(entry)
    return packed


def _cut(entry: _Remainder) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Split the remainder, the last matrices of its bucket, off the others."""
    at = Placed(0, entry.spans).end - entry.count
    head, tail = [], []
    for index, start, stop in entry.spans:
        middle = max(start, min(stop, start + at))
        at -= stop - start
        head += [Span(index, start, middle)] * (middle > start)
        tail += [Span(index, middle, stop)] * (stop > middle)
    return tuple(head), tuple(tail)


def superpose(xs: Sequence[Array]) -> Array:
    """Add stacks of matrices of one short side, the wide way and padded to the longest, unless they are alike."""
    if len(xs) == 1:
        return xs[0]
    wide = len({x.shape[1] <= x.shape[2] for x in xs}) > 1
    turned = [x.mT if wide and x.shape[1] > x.shape[2] else x for x in xs]
    m, n = (max(x.shape[axis] for x in turned) for axis in (1, 2))
    padded = [jnp.pad(x, ((0, 0), (0, m - x.shape[1]), (0, n - x.shape[2]))) for x in turned]
    return functools.reduce(jnp.add, padded)


def uncover(y: Array, shape: tuple[int, ...]) -> Array:
    """Undo the turning and the padding of `superpose` for matrices of ``shape``."""
    turned = shape[0] > y.shape[1] or shape[1] > y.shape[2]
    y = y.mT if turned else y
    return y[:, : shape[0], : shape[1]]
