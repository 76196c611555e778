"""Where a Gram iteration must form its Gram matrix anew, from the schedule and the bits that products keep."""

import itertools
import math
from collections.abc import Sequence

# Bits kept -> how far one segment may lift a singular value: any segment, and the last. A Gram matrix is known to
# 2^-bits of its norm, so a singular value that a segment lifts by g carries an error of about g^2 2^-bits; what the
# last segment does wrong, no later polynomial repairs. Measured; see docs/orthogonalization.md.
LIMITS = {24: (90.0, 50.0), 11: (135.0, 16.0), 8: (16.0, 16.0)}
LAST = 4.0  # weight of the last segment where several choices are safe


def lifts(slopes: Sequence[float], restarts: Sequence[int]) -> list[float]:
    """Product of the slopes in every segment."""
    edges = (0, *restarts, len(slopes))
    return [math.prod(slopes[low:high]) for low, high in itertools.pairwise(edges)]


def choose_restarts(slopes: Sequence[float], bits: int) -> tuple[int, ...]:
    """Take the fewest restarts that keep every segment within its limit; of these the least lift in any segment.

    The last counts fourfold. A segment of one step is a step of the plain iteration and always allowed.
    """
    for count in range(len(slopes)):
        allowed = [c for c in itertools.combinations(range(1, len(slopes)), count) if is_safe(slopes, c, bits)]
        if allowed:
            return min(allowed, key=lambda c: max(*lifts(slopes, c), LAST * lifts(slopes, c)[-1]))
    raise AssertionError("unreachable: one step a segment is safe")


def is_safe(slopes: Sequence[float], restarts: Sequence[int], bits: int) -> bool:
    """Say whether every segment of more than one step stays within its limit."""
    anywhere, last = LIMITS[bits]
    edges = (0, *restarts, len(slopes))
    limits = [anywhere] * len(restarts) + [last]
    return all(
        high - low == 1 or lift <= limit
        for (low, high), lift, limit in zip(itertools.pairwise(edges), lifts(slopes, restarts), limits, strict=True)
    )
