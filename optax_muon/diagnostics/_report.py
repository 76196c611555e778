"""One call on a model and a batch: would Muon help here, and by how much?"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, PyTree
from rich.console import Console
from rich.table import Table

from optax_muon.diagnostics._curvature import Loss, Measurement, measure
from optax_muon.diagnostics._lanczos import Lanczos
from optax_muon.diagnostics._plot import draw
from optax_muon.diagnostics._report_row import Row
from optax_muon.diagnostics._spectra import stable_rank
from optax_muon.linalg import SpectralMap
from optax_muon.matrices._by_name import Rules
from optax_muon.matrices._resolve import Leaves

COLUMNS = ("matrix", "J", "L", "J/L", "nuclear rank", "st(input)", "gain", "best step", "Muon")


@dataclasses.dataclass(frozen=True)
class Report:
    """Rows of the table; printing it draws the table, in a terminal in colour with `rich.print`.

    Attributes:
        rows: one per matrix.
    """

    rows: tuple[Row, ...]

    @property
    def summary(self) -> str:
        """Count the matrices for which Muon is predicted to gain more, and give the median gain."""
        gains = [row.gain for row in self.rows if not np.isnan(row.gain)]
        if not gains:
            return "no matrix has a gradient: nothing can be said"
        better = sum(gain >= 1 for gain in gains)
        share = f"Muon's step is predicted to gain more on {better} of {len(gains)} matrices"
        skipped = f"; {len(self.rows) - len(gains)} have no gradient" if len(gains) < len(self.rows) else ""
        return f"{share}, median gain {np.median(gains):.3g} times{skipped}"

    def __rich__(self) -> Table:
        """Draw with rich."""
        table = Table(*COLUMNS, caption=self.summary)
        for row in self.rows:
            table.add_row(*row.cells(), style={"yes": "green", "no": "red"}.get(row.verdict))
        return table

    def __str__(self) -> str:
        """Draw as plain text."""
        # Wide enough that no path wraps, whatever the terminal or the log file.
        console = Console(width=100 + max((len(row.name) for row in self.rows), default=0))
        with console.capture() as capture:
            console.print(self.__rich__())
        return capture.get()

    def plot(self, path: str | pathlib.Path) -> None:
        """Draw both sides of the condition for every matrix into a picture; needs matplotlib."""
        draw(self.rows, self.summary, path)


def report(
    loss: Loss,
    params: PyTree,
    *batch: Any,
    inputs: Mapping[str, Array] | None = None,
    orthogonalizer: SpectralMap | None = None,
    lanczos: Lanczos = Lanczos(),  # noqa: B008 - immutable
    leaves: Leaves | None = None,
    rules: Rules = (),
) -> Report:
    r"""Tell, matrix by matrix, whether Muon's step is predicted to beat gradient descent's, and by which ratio.

    .. math:: \text{gain} = \frac{\|G\|_*^2 / J}{\|G\|_F^2 / L}

    The gain compares one step of exact Muon without momentum with one of plain gradient descent, both of their best
    length for a quadratic model, on this batch. It says nothing of Adam.

    Args:
        loss: ``loss(params, *batch)``, a scalar, twice differentiable.
        params: parameters, after some steps: at initialisation matrices may have no gradient.
        *batch: what the loss takes beside; a few hundred samples are enough to tell.
        inputs: path -> inputs of the layer, from `layer_inputs`; adds their stable rank.
        orthogonalizer: as for `measure`.
        lanczos: as for `measure`.
        leaves: as for `for_matrices`.
        rules: as for `for_matrices`.

    Returns:
        A printable `Report` with ``rows`` and ``plot(path)``.

    Cost: that of `measure`, 11 to 49 HVPs per matrix, compiled once per call.

    References:
        Shen et al., arXiv 2505.23737 v1, eq. (4).
    """

    def measured(params, *batch):
        return measure(loss, params, *batch, orthogonalizer=orthogonalizer, lanczos=lanczos, leaves=leaves, rules=rules)

    # Compiled at every call: the loss is a closure, which no cache can compare.
    table = jax.jit(measured)(params, *batch)
    ranks = {path: float(stable_rank(x)) for path, x in (inputs or {}).items()}
    return Report(tuple(row for path, m in table.items() for row in _rows(path, m, ranks.get(path, np.nan))))


def _rows(path: str, m: Measurement, input_rank: float) -> list[Row]:
    """Make one row per matrix of a parameter, from arrays (matrices,)."""
    columns = (m.step_curvature, m.top_curvature, m.nuclear, m.frobenius, m.nuclear_rank)
    columns = [np.asarray(x).tolist() for x in (*columns, m.advantage, m.best_step)]
    rows = []
    for i, (j, l, nuclear, frobenius, rank, gain, step) in enumerate(zip(*columns, strict=True)):
        name = path if len(columns[0]) == 1 else f"{path}[{i}]"
        rows.append(Row(name, j, l, nuclear, frobenius, rank, input_rank, gain, step))
    return rows
