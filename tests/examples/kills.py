"""Kill training runs at random moments, damage what they left, and see whether they end as if nothing had happened.

    python -m tests.examples.kills --seed 1 --out docs/records/kills/record.json

Processes are forked from one that has imported everything, so that most of their life is a run's own.
"""

import argparse
import contextlib
import csv
import dataclasses
import importlib
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import socket
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZES = {
    "layers": 1,
    "width": 16,
    "heads": 2,
    "context": 16,
    "batch": 4,
    "steps": 60,
    "eval-every": 20,
    "save-every": 4,
}
OPTIONS = [part for name, value in SIZES.items() for part in (f"--{name}", str(value))]
MOMENTS = ("time", "step", "save", "save")  # half of the kills wait for a save to begin
IN_A_ROW = 6  # kills of one run
PATIENCE = 900  # seconds until a run that does not end is a failure


@dataclasses.dataclass(frozen=True)
class Program:
    """What is killed.

    Attributes:
        module: of the example.
        processes: how many of them make one run, over gloo on this machine.
        kills: how many the record has.
    """

    module: str
    processes: int
    kills: int


PROGRAMS = {
    "nnx": Program("gpt_nnx.train", 1, 45),
    "linen": Program("gpt_linen.train", 1, 35),
    "linen on two processes": Program("gpt_linen.train", 2, 20),
}


def child(module: str, argv: list[str], environment: dict[str, str], log: str) -> None:
    """Be a training process."""
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(output, number)
    sys.argv = [module]
    importlib.import_module(module).main(argv)
    sys.stdout.flush()


class Run:
    """The processes of one run."""

    def __init__(self, program: Program, out: pathlib.Path, logs: pathlib.Path, *options: str):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(sorted({p.module for p in PROGRAMS.values()}))
        argv = [*OPTIONS, "--out", str(out), *options]
        environments = [{"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}]
        if program.processes > 1:
            argv.append("--distributed")
            environments = [environments[0] | as_slurm(i, program.processes) for i in range(program.processes)]
            port = {"JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}"}
            environments = [each | port for each in environments]
        self.logs = [str(logs / f"log.{i}") for i in range(program.processes)]
        self.processes = [
            context.Process(target=child, args=(program.module, argv, each, log))
            for each, log in zip(environments, self.logs, strict=True)
        ]
        for process in self.processes:
            process.start()

    def ended(self) -> bool:
        return any(process.exitcode is not None for process in self.processes)

    def wait(self) -> list[str]:
        """Give the last line's numbers."""
        for process in self.processes:
            process.join(PATIENCE)
        text = pathlib.Path(self.logs[0]).read_text(errors="replace")
        if any(process.exitcode != 0 for process in self.processes):
            self.kill(random.Random(0))
            raise AssertionError(f"exit codes {[p.exitcode for p in self.processes]}: {text[-3000:]}")
        return text.strip().splitlines()[-1].split()[:-1]

    def kill(self, rng: random.Random) -> None:
        """Kill all processes, one after the other, as a host's death and then a scheduler do."""
        for process in rng.sample(self.processes, len(self.processes)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(rng.uniform(0, 0.3) if len(self.processes) > 1 else 0)
        for process in self.processes:
            process.join()


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("localhost", 0))
        return made.getsockname()[1]


def as_slurm(index: int, count: int) -> dict[str, str]:
    """What Slurm tells a process, by which JAX finds the others."""
    names = {"NTASKS": count, "PROCID": index, "LOCALID": index, "JOB_ID": 1, "STEP_NODELIST": "localhost"}
    return {f"SLURM_{name}": str(value) for name, value in names.items()}


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
        if len(steps) < 2:
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
        options = ["--resume=last-good"] if damage else ["--resume"]
        events.append(event | ({"damage": damage} if damage else {}))
    else:
        run = Run(program, out, work, *options)
    last = run.wait()
    same = last == whole[0] and losses(out) == whole[1]
    shutil.rmtree(out)
    return {"kills": events, "last line": " ".join(last), "same": same}


def measure(name: str, kills: int, seed: int, work: pathlib.Path, report=lambda chains: None) -> dict:
    """Kill a program so many times."""
    program, rng = PROGRAMS[name], random.Random(f"{name} {seed}")
    out = work / "whole"
    Run(program, out, work).wait()  # compiles
    shutil.rmtree(out)
    began = time.monotonic()
    whole = Run(program, out, work).wait(), losses(out)
    duration, chains = time.monotonic() - began, []
    while (left := kills - sum(len(each["kills"]) for each in chains)) > 0:
        chains.append(chain(program, whole, duration, min(left, IN_A_ROW), rng, work))
        report(chains)
    shutil.rmtree(out)
    return summary(name, seed, whole[0], chains)


def summary(name: str, seed: int, whole: list[str], chains: list[dict]) -> dict:
    events = [event for each in chains for event in each["kills"]]
    return {
        "program": name,
        "seed": seed,
        "kills": len(events),
        "inside a save": sum(event["in a save"] for event in events),
        "before the first step": sum(not event["lines"] for event in events),
        "damaged files": sum("damage" in event for event in events),
        "runs": len(chains),
        "runs with the same last line and losses": sum(each["same"] for each in chains),
        "last line": " ".join(whole),
        "chains": chains,
    }


def prepare(work: pathlib.Path) -> None:
    """Set what the forked processes inherit, before the first is forked."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")])
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(work / "programs")
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--only", nargs="*", choices=[*PROGRAMS], default=[*PROGRAMS], help="(all)")
    parser.add_argument("--kills", type=int, help="of each (as the record has)")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the record; goes on with one that is there")
    args = parser.parse_args()
    record = json.loads(args.out.read_text()) if args.out.exists() else {"sizes": SIZES, "programs": {}}
    with tempfile.TemporaryDirectory() as work:
        prepare(pathlib.Path(work))
        for name in args.only:
            if name in record["programs"]:
                continue

            def report(chains, name=name):
                last = chains[-1]
                done = sum(len(each["kills"]) for each in chains)
                print(f"{name}: {done} kills, same: {last['same']}, {last['kills']}", flush=True)

            kills = args.kills or PROGRAMS[name].kills
            record["programs"][name] = measure(name, kills, args.seed, pathlib.Path(work), report)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
