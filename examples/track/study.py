"""Questions beside the leaderboard: run one and keep its record.

    python examples/track/study.py widths
    python examples/track/study.py batches products --seeds 3
    python examples/track/study.py widths --quick

widths: does the best rate carry over from width 64 to 512; batches: Muon and AdamW from 8 to 512 sequences at equal
tokens; products: what arithmetic, table and steps of the orthogonaliser cost in loss. Finished runs are remembered;
`leaderboard.py` makes the page.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from gpt import data
from provenance import provenance
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from sweep.runs import Runs

from track.studies import STUDIES
from track.studies.trials import Trials


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="+", metavar="NAME", choices=list(STUDIES), help=", ".join(STUDIES))
    parser.add_argument("--seeds", type=int, default=2, help="runs of every point (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny models: to see it work")
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs/studies"), help="(%(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/records/studies"), help="(%(default)s)")
    args = parser.parse_args(argv)
    if args.seeds < 2:
        parser.error(f"argument --seeds: must be at least 2, not {args.seeds}")
    corpus = data.characters("shakespeare")
    for folder in (args.runs, args.out):
        folder.mkdir(parents=True, exist_ok=True)
    columns = TextColumn("{task.description}"), TextColumn("{task.completed:.0f} runs"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for name in args.studies:
            study = STUDIES[name]
            sizes = study.QUICK if args.quick else study.FULL
            task = progress.add_task(name, total=None)
            runs = Runs(args.runs / f"{name}-{corpus.digest}.jsonl")
            trials = Trials(
                corpus, runs, args.seeds, lambda shown, task=task: progress.update(task, advance=1, description=shown)
            )
            rows = study.ask(trials, sizes)
            record = {
                **provenance(),
                "digest": corpus.digest,
                "seeds": args.seeds,
                "sizes": dataclasses.asdict(sizes),
                "rows": rows,
            }
            file = args.out / f"{name}.json"
            file.write_text(json.dumps(record, indent=1) + "\n")
            progress.remove_task(task)
            progress.console.print(f"{name}: {len(rows)} rows -> {file}", highlight=False)


if __name__ == "__main__":
    main()
