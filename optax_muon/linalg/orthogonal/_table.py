"""What a schedule of odd polynomials is, apart from the numbers that were published."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from optax_muon.linalg.orthogonal._normalizer import Frobenius, Normalizer


def top(row: Sequence[float], high: float) -> tuple[float, bool]:
    """Largest value of one polynomial on (0, high], and whether it changes sign there."""
    with np.errstate(over="ignore", invalid="ignore"):
        # A grid, not roots: it is compared with bounds of some percent, and serves every degree.
        s = high * np.arange(1, 1002) / 1001
        values = s * np.polynomial.polynomial.polyval(s * s, row)
        return float(np.abs(values).max()), not np.all(values > 0)


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """A schedule of odd polynomials ``p_t(s) = c0 s + c1 s^3 + c2 s^5 + ...``, applied one after another.

    Use a published one of `optax_muon.linalg`, or make your own from `minimax_coefficients`.

    Attributes:
        name: origin and year.
        rows: one tuple ``(c0, c1, ...)`` per step, lowest degree first.
        source: where the numbers were published.
        safety: the schedule expects ``X / (safety * norm(X))``; 1.02 keeps rounding from pushing the largest
            singular value out of the interval the polynomials were made for.
        normalize: the norm it was made for.

    Raises:
        ValueError: for an empty or ragged table, a safety below 1, or a schedule that gives a singular value in (0, 1]
            a negative image.
    """

    name: str
    rows: tuple[tuple[float, ...], ...]
    source: str
    safety: float = 1.0
    normalize: Normalizer = Frobenius()

    def __post_init__(self):
        """Raise on an empty or ragged table, a safety below 1, and a schedule that turns a direction round."""
        if not self.rows or len({len(row) for row in self.rows}) != 1 or len(self.rows[0]) < 2:
            raise ValueError(
                f"coefficients {self.name!r}: give at least one row, all of one length >= 2, not {self.rows}"
            )
        if not self.safety >= 1.0:
            raise ValueError(f"coefficients {self.name!r}: safety must be >= 1, not {self.safety}")
        # A polynomial that is negative where a singular value can be turns a descent direction into an ascent one; a
        # published table was found to do so on rank-one matrices.
        if self.reach()[1]:
            s = np.linspace(0, 1, 10_001)[1:]
            flipped = s[~(self.scalar(s) > 0)][0]
            raise ValueError(
                f"coefficients {self.name!r}: singular value {flipped:.3f} changes sign: a step along it would ascend; "
                f"raise safety above {1.001 * self.safety / flipped:.3f}"
            )

    @property
    def steps(self) -> int:
        """Number of polynomials."""
        return len(self.rows)

    @property
    def degree(self) -> int:
        """Degree of each polynomial."""
        return 2 * len(self.rows[0]) - 1

    @property
    def slope(self) -> float:
        """How much the schedule lifts a tiny singular value: the derivative at zero."""
        return float(np.prod([row[0] for row in self.rows]) / self.safety)

    def reach(self, rounding: float = 0.0) -> tuple[float, bool]:
        """Largest value that singular values in [0, 1] attain, and whether one changes sign.

        Before every step they may be too large by a relative ``rounding``.
        """
        high, turns = 1 / self.safety, False
        for row in self.rows:
            high, turned = top(row, high * (1 + rounding))
            turns = turns or turned
        return high, turns

    def survives(self, bits: int) -> bool:
        """Say whether products that keep ``bits`` bits stay within a twentieth of the exact image, and turn nothing.

        A table made for exactly [0, 1], without cushion or safety, grows without bound from there on. One that is a
        small difference of large terms at 1, as `CUBIC_2026`, loses it: rank one comes out at half its size.
        """
        high, turns = self.reach(2.0 ** -(bits + 1))
        # A twentieth: tables with a cushion overshoot by less, the ones made for exactly [0, 1] by orders of magnitude.
        # A quarter: 0.28, the worst table's in bfloat16, is the one that was seen to halve rank one; the next has 0.18.
        return not turns and high <= 1.05 * self.reach()[0] and self.cancellation * 2.0 ** -(bits + 1) <= 0.25

    @property
    def cancellation(self) -> float:
        """How large the terms of a polynomial get beside its value on a matrix of rank one, the linear term aside."""
        s, worst = 1 / self.safety, 0.0
        for row in self.rows:
            value = float(np.polynomial.polynomial.polyval(s * s, row))
            worst = max(worst, float(np.polynomial.polynomial.polyval(s * s, np.abs((0.0, *row[1:])))) / abs(value))
            s = s * value
        return worst

    def first(self, steps: int) -> "Coefficients":
        """Take the first ``steps`` polynomials; beyond the end of the table its last row repeats."""
        if steps < 1:
            raise ValueError(f"coefficients {self.name!r}: steps must be >= 1, not {steps}")
        rows = self.rows[:steps] + self.rows[-1:] * (steps - len(self.rows))
        return dataclasses.replace(self, rows=rows)

    def with_safety(self, safety: float) -> "Coefficients":
        """Fold a safety factor in, as Polar Express does: ``p(s / safety)`` in every step but the last."""
        # Not the last, as in the listing: its image is the result.
        scaled = tuple(tuple(c / safety ** (2 * i + 1) for i, c in enumerate(row)) for row in self.rows[:-1])
        return dataclasses.replace(self, rows=scaled + self.rows[-1:], safety=self.safety * safety)

    def scalar(self, s: np.ndarray) -> np.ndarray:
        """Image of normalised singular values ``s`` in [0, 1], float64, the safety division included."""
        s = np.asarray(s, np.float64) / self.safety
        for row in self.rows:
            s = s * np.polynomial.polynomial.polyval(s * s, row)
        return s

    def image(self, lower: float, upper: float = 1.0, points: int = 20_001) -> tuple[float, float]:
        """Interval into which the schedule maps ``[lower, upper]``, from a log-spaced grid in float64."""
        if not 0 < lower < upper:
            raise ValueError(f"coefficients {self.name!r}: lower must be in (0, upper = {upper}), not {lower}")
        # Log-spaced, for the schedule's structure repeats by factors of its slopes.
        values = self.scalar(np.geomspace(lower, upper, points))
        return float(values.min()), float(values.max())
