"""Published coefficient tables of the Newton-Schulz family, named by origin and year."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """A schedule of odd polynomials ``p_t(s) = c0 s + c1 s^3 + c2 s^5 + ...``, applied one after another.

    Attributes:
        name: origin and year.
        rows: one tuple ``(c0, c1, ...)`` per step, lowest degree first.
        source: where the numbers were published.
        safety: the schedule expects ``X / (safety * norm(X))``; 1.02 keeps rounding from pushing the largest
            singular value out of the interval the polynomials were made for.
    """

    name: str
    rows: tuple[tuple[float, ...], ...]
    source: str
    safety: float = 1.0

    def __post_init__(self):
        """Refuse an empty or ragged table and a safety below 1."""
        if not self.rows or len({len(row) for row in self.rows}) != 1 or len(self.rows[0]) < 2:
            raise ValueError(f"coefficients {self.name!r}: give at least one row, all of one length >= 2, not {self.rows}")
        if not self.safety >= 1.0:
            raise ValueError(f"coefficients {self.name!r}: safety must be >= 1, not {self.safety}")

    @property
    def steps(self) -> int:
        """Number of polynomials."""
        return len(self.rows)

    @property
    def degree(self) -> int:
        """Degree of each polynomial."""
        return 2 * len(self.rows[0]) - 1

    def first(self, steps: int) -> "Coefficients":
        """Take the first ``steps`` polynomials; beyond the end of the table its last row repeats."""
        if steps < 1:
            raise ValueError(f"coefficients {self.name!r}: steps must be >= 1, not {steps}")
        rows = self.rows[:steps] + self.rows[-1:] * (steps - len(self.rows))
        return dataclasses.replace(self, rows=rows)

    def with_safety(self, safety: float) -> "Coefficients":
        """Fold a safety factor in, as Polar Express does: ``p(s / safety)`` in every step but the last."""
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
        values = self.scalar(np.geomspace(lower, upper, points))
        return float(values.min()), float(values.max())


JORDAN_2024 = Coefficients(
    "JORDAN_2024",
    ((3.4445, -4.7750, 2.0315),) * 5,
    "Keller Jordan et al., Muon: an optimizer for hidden layers (2024), github.com/KellerJordan/Muon",
)

YOU_2025 = Coefficients(
    "YOU_2025",
    (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "Jiacheng You (2025); 'dion' in optax.contrib.muon, 'quintic' in Emerging-Optimizers",
)

POLAR_EXPRESS_PAPER_2025 = Coefficients(
    "POLAR_EXPRESS_PAPER_2025",
    (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
        (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
        (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
        (1.875, -1.25, 0.375),
    ),
    "Amsel et al., The Polar Express, arXiv 2505.16932, listing 1 (lower bound 1e-3); the listing then divides by "
    "1.01, 1.01^3, 1.01^5: with_safety(1.01)",
)

POLAR_EXPRESS_NANOGPT_2025 = Coefficients(
    "POLAR_EXPRESS_NANOGPT_2025",
    (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
    ),
    "modded-nanogpt (2025), github.com/KellerJordan/modded-nanogpt: Polar Express for five steps, lower bound 1e-3, "
    "safety 1.02 folded into all rows but the last",
    safety=1.02,
)
