"""Compare optimizers on the Shakespeare GPT, each tuned on its own grid and given its own horizon.

    python examples/compare.py                       # muon:240 against adamw:400
    python examples/compare.py muon adamw --steps 300 --seeds 5
    python examples/compare.py --quick --out runs/look

Every finished run is one line of ``runs.jsonl`` in --out, so a stopped comparison goes on where it was.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import jax
import matplotlib as mpl
import numpy as np
from gpt import data
from gpt_nnx import training
from gpt_nnx.model import GPTConfig
from provenance import provenance
from rich.console import Console
from rich.progress import Progress
from sweep.runs import Runs

import optax_muon as om

mpl.use("Agg")
import matplotlib.pyplot as plt

AXES = {
    "learning_rate": {"adamw": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2), "muon": (0.01, 0.02, 0.04, 0.08, 0.16)},
    "warmup": {"": (0.05, 0.10)},
    "weight_decay": {"": (0.0, 0.1)},
    "beta2": {"": (0.95, 0.99)},
}
START: dict[str, Any] = {"warmup": 0.05, "weight_decay": 0.1, "beta2": 0.95}  # and the middle learning rate


def axis(name: str, optimizer: str) -> tuple[float, ...]:
    """Values of one axis of an optimizer's grid; a rate without its own goes a factor of four about the card's."""
    if name == "learning_rate" and optimizer not in AXES[name]:
        return tuple(om.registry[optimizer].learning_rate * 2.0**power for power in range(-2, 3))
    return AXES[name].get(optimizer, AXES[name].get("", ()))


@dataclasses.dataclass
class Bench:
    """Runs recipes on one model and text, and remembers what it has run."""

    corpus: data.Corpus
    config: GPTConfig
    batch: int
    runs: Runs
    console: Console

    def run(self, recipe: training.Recipe, seed: int, curve: bool = False) -> dict:
        """Train once, or recall it; ``curve`` also validates twenty times on the way."""
        key = {**recipe.settings(), "seed": seed, "curve": curve, "batch": self.batch}
        key |= dataclasses.asdict(self.config)
        entry = self.runs.recall(key)
        if entry is None:
            entry = self.runs.add(key, self._train(recipe, seed, curve))
            shown = {k: key[k] for k in ("optimizer", *AXES, "steps", "seed")}
            self.console.print(
                " ".join(f"{k}={v}" for k, v in shown.items()), f"-> {entry['loss']:.4f}", highlight=False
            )
        return entry

    def _train(self, recipe: training.Recipe, seed: int, curve: bool) -> dict:
        model, optimizer = training.create(self.config, recipe, seed)
        key, points, seconds = jax.random.key(seed + 1), [], 0.0
        few = training.validation_set(self.corpus, self.config, batches=5)
        every = max(1, recipe.steps // 20)
        with Progress(console=self.console, transient=True) as progress:
            for step in progress.track(range(recipe.steps), description=f"{recipe.optimizer} seed {seed}"):
                began = time.perf_counter()
                jax.block_until_ready(
                    training.train_step(
                        model, optimizer, self.corpus.train, jax.random.fold_in(key, step), batch=self.batch
                    )
                )
                seconds += (time.perf_counter() - began) * (step > 0)  # the first one compiles
                if curve and (step + 1) % every == 0:
                    points.append((step + 1, float(training.evaluate(training.evaluated(model, optimizer), few))))
        valid = training.validation_set(self.corpus, self.config, batches=20)
        loss = float(training.evaluate(training.evaluated(model, optimizer), valid))
        return {"loss": loss, "curve": points, "ms_per_step": 1e3 * seconds / max(1, recipe.steps - 1)}


def tune(bench: Bench, optimizer: str, steps: int, search: str) -> tuple[training.Recipe, int]:
    """Find the best recipe on the grid with seed 0, and the number of recipes tried."""
    tried: dict[training.Recipe, float] = {}

    def loss(recipe: training.Recipe) -> float:
        if recipe not in tried:
            value = bench.run(recipe, seed=0)["loss"]
            tried[recipe] = value if np.isfinite(value) else np.inf
        return tried[recipe]

    rates = axis("learning_rate", optimizer)
    best = training.Recipe(optimizer, learning_rate=rates[len(rates) // 2], steps=steps, **START)
    if search == "product":
        values = itertools.product(*(axis(name, optimizer) for name in AXES))
        best = min((dataclasses.replace(best, **dict(zip(AXES, v, strict=True))) for v in values), key=loss)
    else:
        previous = None
        while best != previous:  # one axis after the other, until a whole round changes nothing
            previous = best
            for name in AXES:
                best = min((dataclasses.replace(best, **{name: v}) for v in axis(name, optimizer)), key=loss)
    return best, len(tried)


def summary(recipe: training.Recipe, tried: int, runs: list[dict]) -> dict:
    """One optimizer's row of the record."""
    losses = [run["loss"] for run in runs]
    curve = np.mean([[value for _, value in run["curve"]] for run in runs], axis=0)
    return {
        "recipe": recipe.settings(),
        "tried": tried,
        "losses": losses,
        "mean": float(np.mean(losses)),
        "deviation": float(np.std(losses, ddof=1)) if len(losses) > 1 else 0.0,
        "ms_per_step": float(np.median([run["ms_per_step"] for run in runs])),
        "curve": [[step, float(value)] for (step, _), value in zip(runs[0]["curve"], curve, strict=True)],
    }


def table(rows: dict[str, dict]) -> str:
    """Draw the record as a Markdown table, and the ratio that matters."""
    head = "optimizer|steps|validation loss (mean ± sd)|each seed|learning rate|warmup|decay|beta2|tried|ms/step"
    lines = ["| " + head.replace("|", " | ") + " |", "|" + "---|" * 10]
    for name, row in rows.items():
        recipe = row["recipe"]
        settings = [f"{recipe[key]:g}" for key in ("warmup", "weight_decay", "beta2")]
        loss, each = f"{row['mean']:.4f} ± {row['deviation']:.4f}", ", ".join(f"{x:.4f}" for x in row["losses"])
        cells = [name, recipe["steps"], loss, each, f"{recipe['learning_rate']:g}", *settings, row["tried"]]
        lines.append("| " + " | ".join(map(str, [*cells, f"{row['ms_per_step']:.0f}"])) + " |")
    if "adamw" in rows:
        base = rows["adamw"]
        for name, row in rows.items():
            if name != "adamw":
                share, gap = row["recipe"]["steps"] / base["recipe"]["steps"], row["mean"] - base["mean"]
                verdict = "reaches" if gap <= 0 else "does not reach"
                lines += [
                    "",
                    f"{name} {verdict} AdamW's final loss in {share:.2f} of its steps (difference {gap:+.4f}).",
                ]
    return "\n".join(lines) + "\n"


def plot(rows: dict[str, dict], path: pathlib.Path) -> None:
    """Draw the mean validation curves, each to its own horizon."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for name, row in rows.items():
        steps, values = zip(*row["curve"], strict=True)
        axes.plot(steps, values, "o-", ms=3, label=f"{name}, {row['recipe']['steps']} steps: {row['mean']:.3f}")
    if "adamw" in rows:
        # The curves are measured on a part of the validation windows, so the line is too; the legend has the whole.
        axes.axhline(rows["adamw"]["curve"][-1][1], color="grey", lw=0.8, ls="--", label="where AdamW's curve ends")
    top = max(row["curve"][min(2, len(row["curve"]) - 1)][1] for row in rows.values())
    axes.set(xlabel="step", ylabel="validation loss, nats per character", ylim=(None, top))
    axes.set_title("GPT on Shakespeare, each optimizer tuned; mean over seeds")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("optimizers", nargs="*", default=["muon:240", "adamw:400"], metavar="NAME[:STEPS]")
    parser.add_argument("--steps", type=int, default=400, help="where no STEPS is given (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="(%(default)s)")
    parser.add_argument("--search", choices=["axes", "product"], default="axes", help="of the grid (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a tiny model, two steps, two rates: to see it work")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/compare"), help="(%(default)s)")
    args = parser.parse_args(argv)
    pairs = [entry.partition(":") for entry in args.optimizers]
    unknown = [name for name, _, _ in pairs if name != "adamw" and name not in om.registry]
    if unknown:
        parser.error(f"unknown optimizer {unknown[0]!r}: choose from {', '.join(['adamw', *om.registry])}")
    args.horizons = {name: int(steps) if steps else args.steps for name, _, steps in pairs}
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    corpus = data.characters()
    config = GPTConfig(len(corpus.symbols), 16, 1, 16, 2) if args.quick else GPTConfig(len(corpus.symbols))
    if args.quick:
        args.horizons, args.batch = dict.fromkeys(args.horizons, 2), 2
        for name, values in AXES.items():
            AXES[name] = {optimizer: value[: 1 + (name == "learning_rate")] for optimizer, value in values.items()}
    console = Console(stderr=True)
    bench = Bench(corpus, config, args.batch, Runs(args.out / "runs.jsonl"), console)
    rows = {}
    for name, steps in args.horizons.items():
        recipe, tried = tune(bench, name, steps, args.search)
        rows[name] = summary(recipe, tried, [bench.run(recipe, seed, curve=True) for seed in range(args.seeds)])
    settings = {"model": dataclasses.asdict(config), "batch": args.batch, "search": args.search}
    record = {**provenance(), **settings, "grid": {k: AXES[k] for k in AXES}, "results": rows}
    (args.out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.out / "table.md").write_text(table(rows))
    plot(rows, args.out / "curves.png")
    print(table(rows))


if __name__ == "__main__":
    main()
