"""The picture of a report; the only file that knows matplotlib."""

import math
import pathlib
from collections.abc import Sequence

from optax_muon.diagnostics._report_row import Row

TICKS = (-100, -30, -10, -3, -1, 0, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def draw(rows: Sequence[Row], title: str, path: str | pathlib.Path) -> None:
    """Draw J / L and the nuclear rank of every matrix beside each other; Muon wins where the first is smaller."""
    # Imported here, because the package does without; Figure and not pyplot, which would touch a user's backend.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.8 + 0.25 * len(rows)), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    left = [row.step_curvature / row.top_curvature if row.top_curvature else 0.0 for row in rows]
    right = [row.nuclear_rank for row in rows]
    axes.hlines(places, left, right, color="lightgrey", lw=2, zorder=1)
    axes.scatter(left, places, label="$J_t / L_t$", color="tab:red", zorder=2)
    axes.scatter(right, places, label=r"$\|G\|_*^2 / \|G\|_F^2$", color="tab:blue", zorder=2)
    ranks = [(row.input_rank, place) for place, row in enumerate(rows) if row.input_rank == row.input_rank]
    if ranks:
        axes.scatter(*zip(*ranks, strict=True), label="stable rank of inputs", marker="x", color="black", zorder=2)
    axes.set_yticks(places, [row.name for row in rows])
    axes.invert_yaxis()
    # J can be negative, ranks reach hundreds.
    axes.set_xscale("symlog", linthresh=1)
    seen = [x for x in (0.0, 1.0, *left, *right, *(rank for rank, _ in ranks)) if math.isfinite(x)]
    low, high = min(seen), max(seen)
    axes.set_xlim(1.2 * low, 1.2 * high)
    axes.set_xticks([x for x in TICKS if 1.2 * low <= x <= 1.2 * high], labels=None)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set(xlabel="red left of blue: Muon's step is predicted to gain more", title=title)
    axes.title.set_fontsize(9)
    axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=130)
