"""Processes that train, made to be killed.

They are forked from one that has imported everything, so that most of their life is a run's own.
"""

import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import time

from tests.together import free_port

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
        """Give the numbers of the line that says how the run ended."""
        for process in self.processes:
            process.join(PATIENCE)
        text = pathlib.Path(self.logs[0]).read_text(errors="replace")
        if any(process.exitcode != 0 for process in self.processes):
            self.kill(random.Random(0))
            raise AssertionError(f"exit codes {[p.exitcode for p in self.processes]}: {text[-3000:]}")
        # Some examples say more after it, such as their speed.
        return [line for line in text.splitlines() if line.startswith("final step=")][-1].split()[:-1]

    def kill(self, rng: random.Random) -> None:
        """Kill all processes, one after the other, as a host's death and then a scheduler do."""
        for process in rng.sample(self.processes, len(self.processes)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            time.sleep(rng.uniform(0, 0.3) if len(self.processes) > 1 else 0)
        for process in self.processes:
            process.join()


def as_slurm(index: int, count: int) -> dict[str, str]:
    """What Slurm tells a process, by which JAX finds the others."""
    names = {"NTASKS": count, "PROCID": index, "LOCALID": index, "JOB_ID": 1, "STEP_NODELIST": "localhost"}
    return {f"SLURM_{name}": str(value) for name, value in names.items()}


def prepare(work: pathlib.Path, put=os.environ.__setitem__) -> None:
    """Set what the forked processes inherit, before the first is forked."""
    put("JAX_PLATFORMS", "cpu")
    put("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "examples"), os.environ.get("PYTHONPATH", "")]))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        put("JAX_COMPILATION_CACHE_DIR", str(work / "programs"))
        put("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        put("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
