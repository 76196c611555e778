"""Questions that runs of one length answer: the rate over width, the batch, and the cost of an inexact map."""

from typing import Any, Protocol

from matplotlib.figure import Figure

from track.studies import batches, products, widths
from track.studies.trials import Trials


class Study(Protocol):
    """A question: its runs, and how its record is read."""

    def ask(self, trials: Trials, sizes: Any) -> list[dict[str, Any]]:
        """Run everything and give the rows of the record."""
        ...

    def table(self, rows: list[dict[str, Any]]) -> str:
        """Draw the rows as a table of the page."""
        ...

    def picture(self, rows: list[dict[str, Any]]) -> Figure:
        """Draw the figure."""
        ...


STUDIES: dict[str, Any] = {"widths": widths, "batches": batches, "products": products}
