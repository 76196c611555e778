"""What a report says of one matrix."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One matrix of the report.

    Attributes:
        name: path, with the number of the matrix where a parameter holds several.
        step_curvature: J, loss per squared weight.
        top_curvature: L, loss per squared weight.
        nuclear: nuclear norm of the gradient, loss per weight.
        frobenius: Frobenius norm of the gradient, loss per weight.
        nuclear_rank: of the gradient.
        input_rank: stable rank of the layer's inputs, NaN where they were not given.
        gain: predicted decrease of Muon's best step over that of gradient descent; NaN without a gradient.
        best_step: of Muon in spectral norm; infinite where J is not positive.
    """

    name: str
    step_curvature: float
    top_curvature: float
    nuclear: float
    frobenius: float
    nuclear_rank: float
    input_rank: float
    gain: float
    best_step: float

    @property
    def verdict(self) -> str:
        """Say whether the paper's condition holds."""
        return "?" if np.isnan(self.gain) else "yes" if self.gain >= 1 else "no"

    def cells(self) -> tuple[str, ...]:
        """Format for the table."""
        ratio = self.step_curvature / self.top_curvature if self.top_curvature else np.nan
        inputs = "-" if np.isnan(self.input_rank) else f"{self.input_rank:.2f}"
        values = [f"{x:.3g}" for x in (self.step_curvature, self.top_curvature, ratio)]
        return (self.name, *values, f"{self.nuclear_rank:.2f}", inputs, *self._gain(), self.verdict)

    def _gain(self) -> tuple[str, str]:
        """Format gain and best step; "nan" and "inf" stay words."""
        return f"{self.gain:.3g}", f"{self.best_step:.3g}"
