"""Kill training runs at random moments, damage what they left, and see whether they end as if nothing had happened.

PYTHONPATH=examples python -m tests.examples.kills --seed 1 --out docs/records/kills/record.json
"""

import argparse
import contextlib
import csv
import json
import os
import pathlib
import random
import shutil
import tempfile
import time

from gpt.damage import damage_of

from tests.examples.processes import PATIENCE, PROGRAMS, SIZES, Program, Run, prepare

MOMENTS = ("time", "step", "save", "save")  # half of the kills wait for a save to begin
IN_A_ROW = 8  # kills of one run


def losses(out: pathlib.Path) -> list[str]:
    """The training losses of a finished run."""
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == [str(i) for i in range(1, SIZES["steps"] + 1)]
    return [row["train_loss"] for row in rows]


def lines(out: pathlib.Path) -> int:
    path = out / "metrics.csv"
    return max(0, path.read_bytes().count(b"\n") - 1) if path.exists() else 0


def unfinished(out: pathlib.Path) -> list[pathlib.Path]:
    return list((out / "checkpoints").glob("*tmp*"))


def await_moment(run: Run, moment: str, out: pathlib.Path, rng: random.Random, duration: float) -> bool:
    """Wait for a random moment; give False where the run ends before."""
    delay, least = rng.uniform(0, duration), lines(out) + rng.randrange(SIZES["steps"] // 3)
    stale, began = {path.name: path.stat().st_ctime_ns for path in unfinished(out)}, time.monotonic()

    def come() -> bool:
        if moment == "time":
            return time.monotonic() - began > delay
        if moment == "step":
            return lines(out) > least
        with contextlib.suppress(FileNotFoundError):
            return any(stale.get(path.name) != path.stat().st_ctime_ns for path in unfinished(out))
        return False

    skipped = rng.randrange(4) if moment == "save" else 0
    while True:
        while not come():
            if run.ended():
                return False
            assert time.monotonic() - began < PATIENCE
            time.sleep(0.0005)
        if not skipped:
            break
        skipped -= 1
        while come() and not run.ended():
            time.sleep(0.0005)
    if moment == "save":
        time.sleep(rng.uniform(0, 0.03))
    return not run.ended()


def spoil(out: pathlib.Path, rng: random.Random) -> str | None:
    """Damage a file that the run left; a checkpoint's only where an older one is whole."""
    kind = rng.choice(["settings.json", "metrics.csv", "checkpoint", "checkpoint"])
    steps = sorted(int(path.name) for path in (out / "checkpoints").glob("*") if path.name.isdecimal())
    if not steps:
        return None
    file = out / kind
    if kind == "checkpoint":
        if all(damage_of(out / f"checkpoints/{step}") for step in steps[:-1]):
            return None
        file = rng.choice(sorted(path for path in (out / f"checkpoints/{steps[-1]}").rglob("*") if path.is_file()))
    how = rng.choice(["truncated", "emptied", "deleted"])
    if how == "deleted":
        file.unlink(missing_ok=True)
    else:
        os.truncate(file, rng.randrange(file.stat().st_size) if how == "truncated" and file.stat().st_size else 0)
    return f"{kind} {how}" if kind != "checkpoint" else f"checkpoint: {file.name.split('.')[0][:16]} {how}"


def chain(program: Program, whole: tuple, duration: float, kills: int, rng: random.Random, work: pathlib.Path) -> dict:
    """Kill one run again and again, then let it end; give what happened."""
    out, events, options = work / "run", [], ["--resume"]
    while len(events) < kills:
        run, moment = Run(program, out, work, *options), rng.choice(MOMENTS)
        if not await_moment(run, moment, out, rng, duration):
            break
        run.kill(rng)
        event = {"moment": moment, "lines": lines(out), "in a save": bool(unfinished(out))}
        damage = spoil(out, rng) if rng.random() < 0.25 else None
        if damage:  # until the end: a kill may come before the damaged checkpoint is out of the way
            options = ["--resume=last-good"]
        events.append(event | ({"damage": damage} if damage else {}))
    else:
        run = Run(program, out, work, *options)
    last = run.wait()
    same = last == whole[0] and losses(out) == whole[1]
    shutil.rmtree(out)
    return {"kills": events, "last line": " ".join(last), "same": same}


def measure(name: str, kills: int, seed: int, work: pathlib.Path, report=lambda record: None) -> dict:
    """Kill a program so many times; ``report`` gets the record after every run that ended."""
    program, rng = PROGRAMS[name], random.Random(f"{name} {seed}")
    out = work / "whole"
    Run(program, out, work).wait()  # compiles
    shutil.rmtree(out)
    began = time.monotonic()
    whole = Run(program, out, work).wait(), losses(out)
    duration, chains = time.monotonic() - began, []
    while (left := kills - sum(len(each["kills"]) for each in chains)) > 0:
        chains.append(chain(program, whole, duration, min(left, IN_A_ROW), rng, work))
        report(summary(name, seed, whole[0], chains))
    shutil.rmtree(out)
    return summary(name, seed, whole[0], chains)


def summary(name: str, seed: int, whole: list[str], chains: list[dict]) -> dict:
    """Count what happened; the unfinished save of an earlier kill, if no step was taken since, counts once."""
    events = [event for each in chains for event in each["kills"]]
    pairs = [pair for each in chains for pair in zip([None, *each["kills"]], each["kills"], strict=False)]
    again = [a for b, a in pairs if b and a["in a save"] and b["in a save"] and a["lines"] == b["lines"]]
    return {
        "program": name,
        "seed": seed,
        "kills": len(events),
        "inside a save": sum(event["in a save"] for event in events) - len(again),
        "before the first step": sum(not event["lines"] for event in events),
        "damaged files": sum("damage" in event for event in events),
        "runs": len(chains),
        "runs with the same last line and losses": sum(each["same"] for each in chains),
        "last line": " ".join(whole),
        "chains": chains,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--only", nargs="*", choices=[*PROGRAMS], default=[*PROGRAMS], help="(all)")
    parser.add_argument("--kills", type=int, help="of each (45, 35 and 20)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the record; keeps other programs and seeds")
    args = parser.parse_args()
    measured = json.loads(args.out.read_text())["measured"] if args.out.exists() else []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        prepare(pathlib.Path(work))
        for name in args.only:
            others = [each for each in measured if (each["program"], each["seed"]) != (name, args.seed)]

            def report(found, others=others):
                args.out.write_text(json.dumps({"sizes": SIZES, "measured": [*others, found]}, indent=1) + "\n")
                print({k: v for k, v in found.items() if k != "chains"}, flush=True)

            found = measure(name, args.kills or PROGRAMS[name].kills, args.seed, pathlib.Path(work), report)
            measured = [*others, found]


if __name__ == "__main__":
    main()
