"""How do Muon and AdamW fare as the batch grows and the tokens stay the same?"""

import dataclasses
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from track.contestants import CONTESTANTS, Contestant
from track.presets import Preset
from track.studies.trials import Trials, error, optimum, uncurve

TITLE = "Muon and AdamW over the batch, at equal tokens"


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Batches to try, all over as many tokens, and the model."""

    batches: tuple[int, ...] = (8, 32, 128, 512)
    tokens: int = 2**19
    context: int = 32
    layers: int = 2
    width: int = 64

    def preset(self, batch: int) -> Preset:
        """Give the preset of one batch."""
        steps = self.tokens // (batch * self.context)
        shape = self.context, self.layers, self.width, self.width // 32, batch
        return Preset("batches", *shape, target=0.0, limit=steps, every=steps, windows=512, devices=1)


FULL = Sizes()
QUICK = Sizes((2, 8), tokens=512, context=16, layers=1, width=32)


def contestants() -> dict[str, Contestant]:
    """AdamW, and Muon with the AdamW beside it at the rate of the preset and at three times that."""
    muon = CONTESTANTS["muon"]
    faster = dataclasses.replace(muon, options={**muon.options, "others_rate": 3.0})
    return {"muon": muon, "muon, AdamW beside x 3": faster, "adamw": CONTESTANTS["adamw"]}


def ask(trials: Trials, sizes: Sizes = FULL) -> list[dict[str, Any]]:
    """Find the best rate for every batch, from the smallest on."""
    presets = {batch: sizes.preset(batch) for batch in sizes.batches}
    rows = [trials.follow(name, contestant, presets, "batch") for name, contestant in contestants().items()]
    return [row for of_one in rows for row in of_one]


def _best(row: dict[str, Any]) -> tuple[float, float]:
    """Mean and error of the losses at the best rate that was run."""
    losses = min(uncurve(row).values(), key=np.mean)
    return float(np.mean(losses)), error(losses)


def table(rows: list[dict[str, Any]]) -> str:
    """Give loss and best rate by batch."""
    names = list(dict.fromkeys(row["contestant"] for row in rows))
    batches = sorted({row["batch"] for row in rows})
    by = {(row["contestant"], row["batch"]): row for row in rows}
    lines = [
        "| sequences in a step | " + " | ".join(f"{name}: loss | best rate" for name in names) + " |",
        "|" + "---|" * (1 + 2 * len(names)),
    ]
    for batch in batches:
        cells = [str(batch)]
        for name in names:
            mean, spread = _best(by[name, batch])
            cells += [f"{mean:.3f} ± {spread:.3f}", f"{optimum(uncurve(by[name, batch]))[0]:.2g}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def picture(rows: list[dict[str, Any]]) -> Figure:
    """Draw loss and best rate over the batch."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    loss, rate = figure.subplots(1, 2)
    batches = sorted({row["batch"] for row in rows})
    for name in dict.fromkeys(row["contestant"] for row in rows):
        mine = sorted((row for row in rows if row["contestant"] == name), key=lambda row: row["batch"])
        best = [_best(row) for row in mine]
        loss.errorbar(batches, [x for x, _ in best], [x for _, x in best], fmt="o-", ms=3, capsize=2, label=name)
        rate.plot(batches, [optimum(uncurve(row))[0] for row in mine], "o-", ms=3, label=name)
    loss.set(xscale="log", xlabel="sequences in a step", ylabel="validation loss after equal tokens")
    rate.set(xscale="log", yscale="log", xlabel="sequences in a step", ylabel="best peak rate")
    for axes in (loss, rate):
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    loss.legend()
    return figure
