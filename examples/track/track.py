"""Steps to one loss: tune a contestant, run it on fresh seeds, and keep the record.

    python examples/track/track.py muon
    python examples/track/track.py muon adamw scion --text python --n 10
    python examples/track/track.py normuon --division 2
    python examples/track/track.py muon --preset one-gpu
    python examples/track/track.py muon --preset pod --data data/books
    python examples/track/track.py muon --quick

Finished runs are remembered, and a run that was stopped begins anew. `leaderboard.py` makes the tables.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

# LAPACK's threads wait in loops, which is most of the time of small matrices on a busy machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
from provenance import provenance
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sweep.runs import Runs

from track import tuning
from track.contestants import CONTESTANTS, Contestant
from track.engine import WARMUP, Engine, Outcome
from track.presets import PRESETS, QUICK, Preset, Text, text_of


@dataclasses.dataclass
class Contest:
    """One preset and text, with the runs so far."""

    preset: Preset
    text: Text
    runs: Runs
    progress: Progress

    def record(self, name: str, division: int, n: int) -> dict[str, Any]:
        """Tune a contestant, run it on seeds from zero, and say what came out."""
        contestant = CONTESTANTS[name]
        # Compiled at the first run that nobody remembers.
        engine = functools.cache(lambda: Engine(self.preset, self.text, contestant, self._devices()))
        count = (tuning.RUNS if division == 1 else tuning.BUDGET) + n
        task = self.progress.add_task(f"{self.preset.name}: {name}", total=count)

        def run(
            rate: float, horizon: int, options: Mapping[str, Any], until: int | None, seed: int = tuning.SEED
        ) -> Outcome:
            key = {
                "contestant": name,
                "rate": rate,
                "horizon": horizon,
                "options": dict(options),
                "until": until,
                "seed": seed,
            }
            entry = self.runs.recall(key)
            if entry is None:
                entry = self.runs.add(key, dataclasses.asdict(engine()(rate, horizon, seed, until, options)))
            self.progress.advance(task)
            return Outcome(entry["steps"], entry["seconds"], entry["losses"])

        search = self._search(contestant, division, run)
        best = search.best
        finals = [run(best.rate, best.horizon, best.options, None, seed) for seed in range(n)]
        self.progress.remove_task(task)
        return {
            **provenance(),
            "preset": self.preset.settings(),
            "digest": self.text.digest,
            "contestant": name,
            "division": division,
            "tuned": {"rate": best.rate, "horizon": best.horizon, "options": dict(best.options)},
            "tuning": [
                {"rate": t.rate, "horizon": t.horizon, "options": dict(t.options), "steps": t.outcome.steps,
                 "loss": t.outcome.losses[-1]}
                for t in search.trials
            ],
            "runs": [
                {"seed": seed, "steps": o.steps, "seconds": round(o.seconds, 2), "loss": o.losses[-1]}
                for seed, o in enumerate(finals)
            ],
        }  # fmt: skip

    def _devices(self) -> list[Any]:
        count = self.preset.devices or math.gcd(self.preset.batch, len(jax.devices()))
        return jax.devices()[:count]

    def _search(self, contestant: Contestant, division: int, run: tuning.Try) -> tuning.Search:
        sizes = contestant.rate, self.preset.limit, self.preset.every
        if division == 1:
            return tuning.first_division(run, *sizes)
        return tuning.second_division(run, *sizes, {**contestant.numbers, "warmup": WARMUP})


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contestants", nargs="+", metavar="NAME", help="adamw, a card of the registry, a composition")
    parser.add_argument("--preset", choices=list(PRESETS), default="two-cores", help="(%(default)s)")
    parser.add_argument("--text", choices=("shakespeare", "python"), default="shakespeare", help="(%(default)s)")
    parser.add_argument("--data", type=pathlib.Path, help="folder of token shards, for the preset pod")
    parser.add_argument("--n", type=int, default=10, help="runs that count (%(default)s)")
    parser.add_argument(
        "--division", type=int, choices=(1, 2), default=1, help="2: every number is tuned (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a tiny model and two runs: to see it work")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/track"), help="(%(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/records/track"), help="(%(default)s)")
    args = parser.parse_args(argv)
    unknown = [name for name in args.contestants if name not in CONTESTANTS]
    if unknown:
        parser.error(f"unknown contestant {unknown[0]!r}: choose from {', '.join(CONTESTANTS)}")
    if args.n < 2:
        parser.error(f"argument --n: must be at least 2, not {args.n}")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    text = "data" if args.preset == "pod" else args.text
    preset, n = (QUICK, 2) if args.quick else (PRESETS[args.preset][text], args.n)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    corpus = text_of(preset, text, args.data)
    (args.runs / preset.name).mkdir(parents=True, exist_ok=True)
    (args.out / preset.name).mkdir(parents=True, exist_ok=True)
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        for name in args.contestants:
            runs = Runs(args.runs / preset.name / f"{name}-{corpus.digest}.jsonl")
            record = Contest(preset, corpus, runs, progress).record(name, args.division, n)
            file = args.out / preset.name / f"{name}{'-tuned' if args.division == 2 else ''}.json"
            file.write_text(json.dumps(record, indent=1) + "\n")
            steps = [run["steps"] for run in record["runs"]]
            reached = [x for x in steps if x is not None]
            mean = (
                f"{sum(reached) / len(reached):.1f} steps" if len(reached) == n else f"{len(reached)} of {n} reached it"
            )
            progress.console.print(f"{name}: {mean} -> {file}", highlight=False)


if __name__ == "__main__":
    main()
