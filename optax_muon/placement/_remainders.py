"""Which stacks share the last slots of a deal, so that devices do not compute padding."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from optax_muon.placement._buckets import Member, Stack


class Piece(NamedTuple):
    """Matrices ``start`` to ``stop`` of the stack ``index``."""

    index: int
    start: int
    stop: int


class Part(NamedTuple):
    """Like matrices that travel as one stack of slots; those before the slot ``first`` are another part's."""

    first: int
    pieces: tuple[Piece, ...]

    @property
    def end(self) -> int:
        """The slot after the last matrix."""
        return self.first + sum(piece.stop - piece.start for piece in self.pieces)


def share_leftovers(
    runs: Sequence[Sequence[Member]], stacks: Sequence[Stack], devices: int, *, turn: bool
) -> list[list[Part]]:
    """Cut what is left over a multiple of ``devices`` from every run and let leftovers of one short side share slots.

    Each part still travels as a stack of its own, padded as it would be alone; where parts share slots, the owner of
    a slot receives zeros from all parts but one and computes their sum. Leftovers are placed first fit, longest first,
    and only where that saves a slot.

    Args:
        runs: stacks of one matrix shape that travel together.
        stacks: what the runs refer to.
        devices: by which the slots of every deal are divisible.
        turn: an (n, m) matrix may share with an (m, n) one.
    """
    deals, shelves = [], {}
    for run in runs:
        pieces = tuple(Piece(member.index, 0, stacks[member.index].shape[0]) for member in run)
        count = Part(0, pieces).end
        _, m, n = stacks[run[0].index].shape
        if not count % devices or not m * n:
            deals.append([Part(0, pieces)])
            continue
        key: tuple[Any, ...] = (min(m, n), turn or m <= n, stacks[run[0].index].dtype)
        shelves.setdefault(key, []).append((max(m, n), count % devices, pieces))
    for leftovers in shelves.values():
        bins = _first_fit(sorted(leftovers, key=lambda entry: -entry[0]), devices)
        if len(bins) == len(leftovers):
            deals += [[Part(0, pieces)] for _, _, pieces in leftovers]
            continue
        for shared in bins:
            heads = [_cut(pieces, left)[0] for _, left, pieces in shared]
            deals += [[Part(0, head)] for head in heads if head]
            deals.append([])
            for _, left, pieces in shared:
                deals[-1].append(Part(deals[-1][-1].end if deals[-1] else 0, _cut(pieces, left)[1]))
    return deals


def _first_fit(leftovers: Sequence[tuple[int, int, Any]], room: int) -> list[list[tuple[int, int, Any]]]:
    bins: list[list[tuple[int, int, Any]]] = []
    for entry in leftovers:
        fits = (held for held in bins if sum(left for _, left, _ in held) + entry[1] <= room)
        held = next(fits, None)
        if held is None:
            bins.append([entry])
        else:
            held.append(entry)
    return bins


def _cut(pieces: Sequence[Piece], left: int) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Split off the last ``left`` matrices."""
    at = Part(0, tuple(pieces)).end - left
    head, tail = [], []
    for index, start, stop in pieces:
        middle = max(start, min(stop, start + at))
        at -= stop - start
        head += [Piece(index, start, middle)] * (middle > start)
        tail += [Piece(index, middle, stop)] * (stop > middle)
    return tuple(head), tuple(tail)
