"""Runs of one length: a setting, a rate and a seed give the last validation loss."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from gpt.data import Corpus
from sweep.runs import Runs

from track.contestants import Contestant
from track.engine import Engine
from track.presets import Preset

CLIFF = 10
FURTHER = 5  # rates beyond the first three, while the best stands at an end


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained, and how; its preset's limit is the length of every run, and its target is out of reach.

    Attributes:
        label: names the optimizer; label and preset decide a run, with rate and seed.
        contestant: builds the optimizer.
        preset: model, batch and number of steps.
    """

    label: str
    contestant: Contestant
    preset: Preset


@dataclasses.dataclass
class Trials:
    """Makes runs on one text and remembers them."""

    text: Corpus
    runs: Runs
    seeds: int
    advance: Callable[[str], None] = lambda shown: None

    def losses(self, setting: Setting, rate: float) -> list[float]:
        """Give the last validation loss of every seed; infinity for one that is not finite."""
        return [self._loss(setting, rate, seed) for seed in range(self.seeds)]

    def valley(self, setting: Setting) -> dict[float, list[float]]:
        """Give the losses at rates a factor of two apart, about the contestant's, until the best lies inside."""
        start = setting.contestant.rate
        found = {power: self.losses(setting, start * 2.0**power) for power in (-1, 0, 1)}
        for _ in range(FURTHER):
            best = min(found, key=lambda power: np.mean(found[power]))
            if min(found) < best < max(found):
                break
            power = best - 1 if best == min(found) else best + 1
            found[power] = self.losses(setting, start * 2.0**power)
        return {start * 2.0**power: found[power] for power in sorted(found)}

    def follow(
        self, label: str, contestant: Contestant, presets: Mapping[int, Preset], size: str
    ) -> list[dict[str, Any]]:
        """Give a row of every preset, by ``size``, with its valley, looked for where the one before was best."""
        found = []
        for value, preset in presets.items():
            valley = self.valley(Setting(label, contestant, preset))
            found.append({"contestant": label, size: value, **curve(valley)})
            best = min(valley, key=lambda rate: np.mean(valley[rate]))
            contestant = dataclasses.replace(contestant, rate=best)
        return found

    def _loss(self, setting: Setting, rate: float, seed: int) -> float:
        key = {"label": setting.label, "preset": setting.preset.settings(), "rate": rate, "seed": seed}
        entry = self.runs.recall(key)
        if entry is None:
            outcome = self._engine(setting)(rate, setting.preset.limit, seed)
            loss = outcome.losses[-1]
            entry = self.runs.add(key, {"loss": loss if math.isfinite(loss) else None})
        self.advance(f"{setting.label}, rate {rate:.3g}")
        return math.inf if entry["loss"] is None else entry["loss"]

    def _engine(self, setting: Setting) -> Engine:
        # One at a time: each holds its programs.
        if getattr(self, "_made", (None,))[0] != setting:
            self._made = setting, Engine(setting.preset, self.text, setting.contestant, jax.devices()[:1])
        return self._made[1]


def optimum(valley: dict[float, list[float]]) -> tuple[float, float]:
    """Give the best rate and its mean loss: a parabola through the three best means, over the logarithm of the rate.

    Where one neighbour lies beyond an edge, a tenth of a nat above and ten times as far as the other, the valley is no
    parabola, and the best run itself is given.
    """
    rates, means = np.array(list(valley)), np.array([np.mean(losses) for losses in valley.values()])
    best = int(np.argmin(means))
    near = means[max(best - 1, 0) : best + 2]
    if near.size < 3 or not np.isfinite(near).all():
        return float(rates[best]), float(means[best])
    low, middle, high = near
    if max(low, high) - middle > max(0.1, CLIFF * (min(low, high) - middle)):
        return float(rates[best]), float(middle)
    curvature = low - 2 * middle + high
    shift = 0.0 if curvature == 0 else 0.5 * (low - high) / curvature
    return float(rates[best] * 2.0**shift), float(middle - 0.25 * (low - high) * shift)


def error(losses: Sequence[float]) -> float:
    """Give the standard error of a mean."""
    return float(np.std(losses, ddof=1) / len(losses) ** 0.5) if len(losses) > 1 else math.nan


def curve(valley: dict[float, list[float]]) -> dict[str, Any]:
    """Write a valley for a record: infinity has no place in JSON."""
    losses = [[x if math.isfinite(x) else None for x in row] for row in valley.values()]
    return {"rates": list(valley), "losses": losses}


def uncurve(row: dict[str, Any]) -> dict[float, list[float]]:
    """Read a valley from a record."""
    losses = [[math.inf if x is None else x for x in row] for row in row["losses"]]
    return dict(zip(row["rates"], losses, strict=True))
