"""Where a Gram iteration must form its Gram matrix anew, from the schedule and the rounding of its products."""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence

from optax_muon.linalg.orthogonal._table import top

# How far rounding may carry the largest singular value beyond the exact image.
OVERSHOOT = 1.012

# Float32 stays this accurate after every step, so that the result is within 1e-4 of the exact schedule's.
ACCURATE = 1.2e-5

# No schedule comes back from here.
RUNAWAY = 100.0

# An error of the last segment is repaired by no later polynomial.
LAST = 16.0

Rows = tuple[tuple[float, ...], ...]


@functools.lru_cache(maxsize=256)
def choose_restarts(rows: Rows, safety: float, bits: int, gram_rounding: float) -> tuple[int, ...]:
    """Take the fewest restarts that are safe; of these the least growth of rounding in any segment.

    A segment of one step is a step of the plain iteration, so the longest list is always safe.
    """
    steps = len(rows)
    for count in range(steps - 1):
        # At most 2^(steps - 1) candidates: 512 for ten steps, tried once per schedule and process.
        every = itertools.combinations(range(1, steps), count)
        safe = [c for c in every if is_safe(rows, safety, c, bits, gram_rounding)]
        if safe:
            return min(safe, key=lambda c: _growth(rows, c))
    return tuple(range(1, steps))


def is_safe(rows: Rows, safety: float, restarts: Sequence[int], bits: int, gram_rounding: float) -> bool:
    """Say whether rounding leaves the schedule within its bounds.

    A Gram matrix is known to ``gram_rounding`` of its norm, and every step multiplies that by the square of its slope
    where singular values are small. From the second step of a segment on it is an error of the singular values. Steep
    polynomials then either bear it or run away, which the largest value that they attain tells.
    """
    high, product = 1 / safety, 2.0 ** -(bits + 1)
    for low, end in segments(len(rows), restarts):
        error = gram_rounding * high**2
        for step in range(low, end):
            # A segment's first step reads the fresh R; only from the second on is R a product of rounded ones.
            wrong = product if step == low else max(product, error)
            high = top(rows[step], high)[0] * (1 + wrong)
            if (bits >= 24 and wrong > ACCURATE) or not high < RUNAWAY:
                return False
            # An eigenvalue of R that rounding made of nothing is lifted like any tiny s^2: by the slope squared.
            error *= rows[step][0] ** 2
    exact = 1 / safety
    for row in rows:
        exact = top(row, exact)[0]
    return high <= OVERSHOOT * exact


def segments(steps: int, restarts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first step and the end of every segment."""
    return itertools.pairwise((0, *restarts, steps))


def _growth(rows: Rows, restarts: Sequence[int]) -> float:
    """Return how much the worst segment lifts a wrong eigenvalue, the last one counted `LAST` times."""
    # The last step of a segment lifts X alone, R is dropped after it.
    grown = [math.prod(row[0] ** 2 for row in rows[low : end - 1]) for low, end in segments(len(rows), restarts)]
    return max(*grown, LAST * grown[-1])
