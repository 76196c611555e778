"""Compare every optimizer of the registry, and AdamW, on equal work: steps, grid size, seeds.

    python examples/compare_registry.py                      # hours; stop it when you like, it goes on where it was
    python examples/compare_registry.py muon soap --workloads digits
    python examples/compare_registry.py --quick --out runs/look

Each optimizer's learning rate is tuned with seed 0 on five values, factors of two about its card's, and further while
the best stands at an end, six times at most; then three seeds run at the best. Every finished run is one line of
``runs.jsonl`` in --out.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys

# LAPACK's threads wait in loops, which counts as CPU time and is most of it for small matrices on a busy machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import matplotlib as mpl
import numpy as np
from gpt.recipe import Recipe
from provenance import provenance
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sweep.program import POINTS, Program
from sweep.runs import Runs
from sweep.workloads import WORKLOADS, Workload

import optax_muon as om

mpl.use("Agg")
import matplotlib.pyplot as plt

POWERS = (-2, -1, 0, 1, 2)
FURTHER = 6


@dataclasses.dataclass
class Contest:
    """One workload: runs its programs, each compiled once and only where a run is missing."""

    name: str
    workload: Workload
    runs: Runs
    powers: tuple[int, ...]
    progress: Progress

    def compare(self, optimizer: str, steps: int, seeds: int) -> dict:
        """Tune an optimizer and give its row."""
        recipe, programs = Recipe(optimizer, steps=steps), []
        task = self.progress.add_task(f"{self.name}: {optimizer}", total=len(self.powers) + seeds - 1)

        def run(rate: float, seed: int) -> dict:
            key = {"workload": self.name, "optimizer": optimizer, "steps": steps, "rate": rate, "seed": seed}
            entry = self.runs.recall(key)
            if entry is None:
                programs[:] = programs or [Program(self.workload, recipe)]
                outcome = programs[0](rate, seed)._asdict()
                entry = self.runs.add(key, outcome | {"state": programs[0].state_per_parameter()})
            return entry

        def tried(power: int) -> dict:
            self.progress.advance(task)
            return run(recipe.peak * 2.0**power, 0)

        grid = {power: tried(power) for power in self.powers}
        for _ in range(FURTHER if len(grid) > 1 else 0):
            best = min(grid, key=lambda power: _rank(grid[power]))
            if min(grid) < best < max(grid):
                break
            power = best - 1 if best == min(grid) else best + 1
            grid[power] = tried(power)
        best = min(grid, key=lambda power: _rank(grid[power]))
        chosen = [grid[best], *(run(recipe.peak * 2.0**best, seed) for seed in range(1, seeds))]
        self.progress.remove_task(task)
        losses = [entry["loss"] for entry in chosen]
        return {
            "learning_rate": recipe.peak * 2.0**best,
            "edge": best in (min(grid), max(grid)),
            "tried": [[entry["key"]["rate"], entry["loss"]] for _, entry in sorted(grid.items())],
            "losses": losses,
            "mean": float(np.mean(losses)),
            "deviation": float(np.std(losses, ddof=1)) if len(losses) > 1 else 0.0,
            "curve": np.mean([entry["curve"] for entry in chosen], axis=0).tolist(),
            "cpu_ms_per_step": float(
                np.median([1e3 * entry["cpu_seconds"] / steps for entry in [*grid.values(), *chosen]])
            ),
            "state": chosen[0]["state"],
        }


def _rank(entry: dict) -> float:
    return entry["loss"] if np.isfinite(entry["loss"]) else np.inf


def steps_to(curve: list[float], target: float, steps: int) -> float | None:
    """First step at which a curve reaches ``target``, linear between its points; None if it does not."""
    at = np.arange(1, POINTS + 1) * (steps / POINTS)
    for i, value in enumerate(curve):
        if value <= target:
            before = curve[i - 1] if i else value
            share = 1.0 if before == value else (before - target) / (before - value)
            return float(at[i] - (1 - share) * steps / POINTS)
    return None


def table(rows: dict[str, dict], steps: int) -> str:
    """Draw one workload's rows, best first, as Markdown."""
    head = (
        "| optimizer | validation loss | of AdamW's steps | learning rate | rates tried "
        "| CPU time of AdamW's | state per parameter |"
    )
    lines, base = [head, "|" + "---|" * 7], rows.get("adamw")
    for name, row in sorted(rows.items(), key=lambda entry: entry[1]["mean"]):
        needed = steps_to(row["curve"], base["curve"][-1], steps) if base else None
        share = "-" if base is None else "not reached" if needed is None else f"{needed / steps:.2f}"
        time = "-" if base is None else f"{row['cpu_ms_per_step'] / base['cpu_ms_per_step']:.1f}"
        rate = f"{row['learning_rate']:.3g}" + (" (edge)" if row["edge"] else "")
        loss = f"{row['mean']:.4f} ± {row['deviation']:.4f}"
        lines.append(f"| {name} | {loss} | {share} | {rate} | {len(row['tried'])} | {time} | {row['state']:.2f} |")
    return "\n".join(lines) + "\n"


def plot(results: dict[str, dict[str, dict]], path: pathlib.Path) -> None:
    """Draw every optimizer's loss on every workload, the best at the top, AdamW as a line."""
    count = max(map(len, results.values()))
    figure, grid = plt.subplots(1, len(results), figsize=(4.4 * len(results), 1.2 + 0.2 * count), layout="constrained")
    for axes, (workload, rows) in zip(np.atleast_1d(grid), results.items(), strict=True):
        order = sorted(rows, key=lambda name: -rows[name]["mean"])
        means = [rows[name]["mean"] for name in order]
        axes.errorbar(means, range(len(order)), xerr=[rows[name]["deviation"] for name in order], fmt="o", ms=4)
        if "adamw" in rows:
            axes.axvline(rows["adamw"]["mean"], color="grey", lw=0.8, ls="--", label="AdamW")
            axes.legend(loc="upper right")
        middle = float(np.median(means))
        right = min(max(means), 2 * middle) + 0.05 * middle
        axes.set_xlim(min(means) - 0.05 * middle, right)
        for i, mean in enumerate(means):
            if mean > right:
                axes.annotate(f"{mean:.2f} →", (right, i), (-4, 0), textcoords="offset points", ha="right", va="center")
        axes.set_yticks(range(len(order)), order, fontsize=8)
        axes.set(title=workload, xlabel="validation loss, nats", ylim=(-1, len(order)))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["adamw", *om.registry]
    parser.add_argument("optimizers", nargs="*", default=names, metavar="NAME", help="(all of them)")
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--steps", type=int, default=200, help="a multiple of 20 (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="20 steps, one rate, one seed: to see it work")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/registry"), help="(%(default)s)")
    args = parser.parse_args(argv)
    unknown = [name for name in args.optimizers if name not in names]
    if unknown:
        parser.error(f"unknown optimizer {unknown[0]!r}: choose from {', '.join(names)}")
    if args.steps < POINTS or args.steps % POINTS:
        parser.error(f"argument --steps: must be a multiple of {POINTS}, not {args.steps}")
    if args.quick:
        args.steps, args.seeds = POINTS, 1
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    runs, results = Runs(args.out / "runs.jsonl"), {}
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        whole = progress.add_task("all", total=len(args.workloads) * len(args.optimizers))
        for workload in args.workloads:
            contest = Contest(workload, WORKLOADS[workload](), runs, (0,) if args.quick else POWERS, progress)
            results[workload] = {}
            for name in args.optimizers:
                results[workload][name] = row = contest.compare(name, args.steps, args.seeds)
                progress.console.print(f"{workload} {name}: {row['mean']:.4f}", highlight=False)
                progress.advance(whole)
    record = {**provenance(), "steps": args.steps, "results": results}
    (args.out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    text = "\n".join(f"## {name}\n\n{table(rows, args.steps)}" for name, rows in results.items())
    (args.out / "table.md").write_text(text)
    plot(results, args.out / "losses.png")
    print(text)


if __name__ == "__main__":
    main()
