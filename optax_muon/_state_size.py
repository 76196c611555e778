"""How many floats of state an optimizer keeps, as a figure that a test counts."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from optax_muon._formula import evaluate


@dataclasses.dataclass(frozen=True)
class StateSize:
    """Floats of state for a matrix of ``inputs`` x ``outputs``.

    Attributes:
        per_parameter: floats for each entry.
        per_matrix: formula, with ``+``, ``*``, ``**`` and ``min``, of what comes on top for each matrix, in ``inputs``,
            ``outputs`` and the optimizer's ``rank``.
        forms: the same with other arguments than the defaults.
        note: what no count of one matrix shows: other leaves, what stands outside of the optimizer.
    """

    per_parameter: int
    per_matrix: str = "0"
    forms: tuple["Form", ...] = ()
    note: str = ""

    def __post_init__(self):
        """Raise a ValueError where the formula cannot be read."""
        self.floats(1, 1, 1)

    def floats(self, inputs: int, outputs: int, rank: int = 0) -> int:
        """Count the floats of one matrix."""
        names = {"inputs": inputs, "outputs": outputs, "rank": rank}
        return self.per_parameter * inputs * outputs + evaluate(self.per_matrix, names)

    def __str__(self) -> str:
        """Say it in words."""
        return "; ".join([self._alone(), *(f"{form.size._alone()} {form.when}" for form in self.forms), *self._notes()])

    def sentence(self) -> str:
        """Say it as the state of a docstring does."""
        unit = "1 float per parameter" if self.per_parameter == 1 else f"{self.per_parameter} floats per parameter"
        return f"State: {unit}{str(self).removeprefix(str(self.per_parameter))}."

    def _alone(self) -> str:
        """Say what the counts are, without forms and note."""
        if self.per_matrix == "0":
            return str(self.per_parameter)
        # Read by people as mathematics, though counted as Python.
        formula = re.sub(r" ?\*\* ?", "^", self.per_matrix)
        return (f"{self.per_parameter}, and " if self.per_parameter else "") + f"{formula} per matrix"

    def _notes(self) -> list[str]:
        """List the note, where there is one."""
        return [self.note] if self.note else []


@dataclasses.dataclass(frozen=True)
class Form:
    """The state with other arguments.

    Attributes:
        when: in words, such as "with error feedback".
        arguments: those that make it.
        size: of it.
    """

    when: str
    arguments: Mapping[str, Any]
    size: StateSize
