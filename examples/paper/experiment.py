"""What every experiment shares: its options, where it comes from, and how its figure and numbers are kept."""

import argparse
import dataclasses
import json
import pathlib
import time
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from provenance import provenance


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One run of a script.

    Attributes:
        name: of the folder of its results.
        out: that folder.
        quick: whether to run at the smallest size that still exercises everything.
        seed: of all random numbers.
        began: time at the start, in seconds.
    """

    name: str
    out: pathlib.Path
    quick: bool
    seed: int
    began: float

    def save(self, figure: Figure, numbers: dict[str, Any]) -> None:
        """Write ``figure.png`` and ``numbers.json``, and print where they are."""
        self.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.out / "figure.png", dpi=110)
        record = {**self._provenance(), "numbers": rounded(numbers)}
        (self.out / "numbers.json").write_text(json.dumps(record, indent=1) + "\n")
        print(f"{self.name}: {record['seconds']} s, {record['cpu seconds']} s of CPU -> {self.out}")

    def _provenance(self) -> dict[str, Any]:
        return {
            "experiment": self.name,
            **provenance(),
            "quick": self.quick,
            "seed": self.seed,
            "seconds": round(time.perf_counter() - self.began, 1),
            "cpu seconds": round(time.process_time(), 1),  # imports included; the others' share does not count
        }


def start(file: str, doc: str | None, argv: list[str] | None = None) -> Experiment:
    """Read ``--out``, ``--quick`` and ``--seed`` for the script ``file``."""
    name = pathlib.Path(file).stem
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/paper", name), help="(%(default)s)")
    parser.add_argument("--quick", action="store_true", help="the smallest run, to see that it works")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    args = parser.parse_args(argv)
    return Experiment(name, args.out, args.quick, args.seed, time.perf_counter())


def rounded(value: Any, digits: int = 4) -> Any:
    """Turn arrays into lists and numbers into short ones; infinite ones become strings, which JSON can hold."""
    if isinstance(value, dict):
        return {str(key): rounded(x, digits) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(x, digits) for x in value]
    array = np.asarray(value)
    if array.ndim:
        return [rounded(x, digits) for x in array.tolist()]
    if array.dtype.kind == "f":
        return float(f"{float(array):.{digits}g}") if np.isfinite(array) else str(float(array))
    return array.item()
