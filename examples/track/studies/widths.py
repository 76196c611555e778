"""Does the best learning rate carry over from a narrow model to a wide one?"""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import optax_muon as om
from track.contestants import CONTESTANTS, Contestant
from track.presets import Preset
from track.studies.trials import Trials, optimum, uncurve

TITLE = "Does the best rate carry over from width to width?"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Widths to try, with heads of 32, and the rest of the model."""

    widths: tuple[int, ...] = (64, 128, 256, 512)
    steps: int = 60
    layers: int = 1
    batch: int = 8
    context: int = 64

    def preset(self, width: int) -> Preset:
        """Give the preset of one width."""
        shape = self.context, self.layers, width, width // 32, self.batch
        return Preset("widths", *shape, target=0.0, limit=self.steps, every=self.steps, windows=256, devices=1)


FULL = Sizes()
QUICK = Sizes((32, 64), steps=6, layers=1, batch=2, context=16)


def contestants() -> dict[str, Contestant]:
    """AdamW, and Muon under every shape scale, each with the rate about which its valley is looked for."""
    muon = CONTESTANTS["muon"]

    def scaled(scale: om.shapes.ShapeScale, rate: float) -> Contestant:
        return dataclasses.replace(muon, options={**muon.options, "shape_scale": scale}, rate=rate)

    return {
        "muon, Jordan": scaled(om.shapes.Jordan(), 0.02),
        "muon, Spectral": scaled(om.shapes.Spectral(), 0.02),
        "muon, RMSMatch": scaled(om.shapes.RMSMatch(0.2), 0.008),
        "adamw": dataclasses.replace(CONTESTANTS["adamw"], rate=0.006),
    }


def ask(trials: Trials, sizes: Sizes = FULL) -> list[dict[str, Any]]:
    """Find every valley."""
    presets = {width: sizes.preset(width) for width in sizes.widths}
    rows = [trials.follow(name, contestant, presets, "width") for name, contestant in contestants().items()]
    return [row for of_one in rows for row in of_one]


def table(rows: list[dict[str, Any]]) -> str:
    """Give the best rate by width, its drift, and what the narrow model's best rate costs the widest one."""
    widths = sorted({row["width"] for row in rows})
    lines = [
        "| optimizer | " + " | ".join(f"best rate at {width}" for width in widths) + " | drift | cost of not tuning |",
        "|" + "---|" * (len(widths) + 3),
    ]
    for name in dict.fromkeys(row["contestant"] for row in rows):
        valleys = {row["width"]: uncurve(row) for row in rows if row["contestant"] == name}
        best = [optimum(valleys[width])[0] for width in widths]
        drift, cost = f"{best[-1] / best[0]:.2f}", _cost(valleys[widths[-1]], best[0])
        cells = [name, *(f"{rate:.2g}" for rate in best), drift, cost]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cost(valley: dict[float, list[float]], rate: float) -> str:
    """Loss above the valley's floor at a rate, between two that were run."""
    at, means = np.log(list(valley)), np.array([np.mean(losses) for losses in valley.values()])
    if not at[0] <= np.log(rate) <= at[-1]:
        end = 0 if np.log(rate) < at[0] else -1
        return f"{means[end] - optimum(valley)[1]:.3f} at {list(valley)[end]:.2g} already"
    return f"{max(0.0, np.interp(np.log(rate), at, means) - optimum(valley)[1]):.3f}"


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Draw the valleys, one panel for each optimizer."""
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    figure = Figure(figsize=(2.6 * len(names), 2.9), layout="constrained")
    for axes, name in zip(np.ravel(figure.subplots(1, len(names), sharey=True)), names, strict=True):
        mine = [row for row in rows if row["contestant"] == name]
        for shade, row in zip(np.linspace(0.35, 1, len(mine)), mine, strict=True):
            valley = uncurve(row)
            means = [np.mean(losses) for losses in valley.values()]
            axes.plot(list(valley), means, "o-", ms=3, color="C0", alpha=shade, label=f"width {row['width']}")
            axes.plot(*optimum(valley), "k|", ms=10)
        axes.set(title=name, xscale="log", xlabel="peak learning rate")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("validation loss")
    figure.axes[0].legend(fontsize=7)
    return figure
