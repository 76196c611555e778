"""What do fewer steps, another table and bfloat16 in the orthogonaliser cost in loss?"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from optax_muon import linalg
from track.contestants import CONTESTANTS
from track.presets import PRESETS, Preset
from track.studies.trials import Setting, Trials, error

TITLE = "What arithmetic, table and number of steps cost in loss"
RATE = 0.0141  # of Muon on this preset, as the leaderboard's tuning found it
EXACT = "exact polar factor"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Steps of the iteration to try, and the model."""

    preset: Preset
    steps: tuple[int, ...] = (3, 4, 5, 8)


def _full(preset: Preset, limit: int) -> Preset:
    return dataclasses.replace(preset, name="products", target=0.0, limit=limit, every=limit, windows=256)


FULL = Sizes(_full(PRESETS["two-cores"]["shakespeare"], 240))
QUICK = Sizes(Preset("products", 16, 1, 32, 1, 2, 0.0, 6, every=6, windows=8, devices=1), (3, 5))


def tables(steps: tuple[int, ...]) -> Iterator[tuple[str, linalg.Coefficients]]:
    """Give the tables of every length, and those that have one length alone."""
    for count in steps:
        jordan = linalg.JORDAN_2024
        yield (
            "Jordan's row",
            dataclasses.replace(jordan, name=f"{jordan.name}, {count} rows", rows=jordan.rows[:1] * count),
        )
        rows = linalg.minimax_coefficients(1e-3, count, cushion=0.02, safety=0.02)
        name, source = f"minimax, {count} rows", "minimax_coefficients, as the default table"
        yield "minimax", linalg.Coefficients(name, tuple(map(tuple, rows.tolist())), source, safety=1.02)
    yield "You's rows", linalg.YOU_2025


def ask(trials: Trials, sizes: Sizes = FULL) -> list[dict[str, Any]]:
    """Train with every map, at one rate, on the same seeds."""
    muon = CONTESTANTS["muon"]

    def row(kind: str, steps: int | None, arithmetic: str | None, op: linalg.SpectralMap) -> dict[str, Any]:
        label = f"{kind}, {steps} steps, {arithmetic}" if steps else kind
        contestant = dataclasses.replace(muon, options={**muon.options, "orthogonalizer": op})
        losses = trials.losses(Setting(label, contestant, sizes.preset), RATE)
        return {"table": kind, "steps": steps, "arithmetic": arithmetic, "losses": losses}

    found = [row(EXACT, None, None, linalg.SVDPolar())]
    for arithmetic in (linalg.FLOAT32, linalg.BFLOAT16):
        for kind, table in tables(sizes.steps):
            op = linalg.NewtonSchulz(table, arithmetic=arithmetic)
            found.append(row(kind, table.steps, "bfloat16" if arithmetic == linalg.BFLOAT16 else "float32", op))
    return found


def _against_exact(rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], float, float]]:
    """Rows with the mean of their losses less the exact factor's, seed by seed, and its error."""
    exact = np.array(next(row["losses"] for row in rows if row["table"] == EXACT))
    apart = [(row, np.array(row["losses"]) - exact) for row in rows if row["table"] != EXACT]
    return [(row, float(x.mean()), error(list(x))) for row, x in apart]


def table(rows: list[dict[str, Any]]) -> str:
    """Give the loss above the exact factor's, by table and steps."""
    arithmetics = list(dict.fromkeys(row["arithmetic"] for row in rows if row["arithmetic"]))
    apart = {(row["table"], row["steps"], row["arithmetic"]): (x, e) for row, x, e in _against_exact(rows)}
    lines = ["| table | steps | " + " | ".join(arithmetics) + " |", "|" + "---|" * (2 + len(arithmetics))]
    for kind, steps in sorted({key[:2] for key in apart}):
        cells = [f"{apart[kind, steps, a][0]:+.4f} ± {apart[kind, steps, a][1]:.4f}" for a in arithmetics]
        lines.append(f"| {kind} | {steps} | " + " | ".join(cells) + " |")
    exact = next(row["losses"] for row in rows if row["table"] == EXACT)
    shown = f"{np.mean(exact):.3f} ± {error(exact):.3f}, n = {len(exact)}"
    return "\n".join(lines) + f"\n\nThe exact factor's loss: {shown}.\n"


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Draw the loss above the exact factor's over the number of steps."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes, apart = figure.subplots(), _against_exact(rows)
    kinds = list(dict.fromkeys(row["table"] for row, *_ in apart))
    for kind, arithmetic in dict.fromkeys((row["table"], row["arithmetic"]) for row, *_ in apart):
        mine = [entry for entry in apart if (entry[0]["table"], entry[0]["arithmetic"]) == (kind, arithmetic)]
        steps, x, e = zip(*sorted((row["steps"], x, e) for row, x, e in mine), strict=True)
        shift = 0.06 if arithmetic == "bfloat16" else -0.06
        line = {"color": f"C{kinds.index(kind)}", "ls": "--" if arithmetic == "bfloat16" else "-"}
        style = {"marker": "o", "ms": 3, "capsize": 2, "label": f"{kind}, {arithmetic}", **line}
        axes.errorbar(np.array(steps) + shift, x, e, **style)
    axes.axhline(0.0, color="black", lw=0.7)
    axes.set(xlabel="steps of the iteration", ylabel="loss above the exact factor's")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return figure
