"""What a run writes beside its checkpoints: metrics.csv, TensorBoard's events, a profile, the picture of its losses."""

import csv
import importlib
import io
import os
import pathlib
from types import TracebackType
from typing import Any

import jax
import matplotlib as mpl
import numpy as np
from gpt.checkpoint import History
from gpt.files import replace_text

mpl.use("Agg")
import matplotlib.pyplot as plt

COLUMNS: tuple[str, ...] = ("step", "train_loss", "val_loss", "learning_rate", "max_logit", "tokens_per_second")
PROFILED = range(3, 6)  # steps after the start: compilation is over


def summary_writer() -> Any:
    """Find the class that writes TensorBoard's events: tensorboardX's, or else Flax's, which needs tensorflow.

    Raises:
        ValueError: if neither is installed.
    """
    for module in ("tensorboardX", "flax.metrics.tensorboard"):
        try:
            return importlib.import_module(module).SummaryWriter
        except ImportError:
            continue
    raise ValueError("argument --tensorboard: neither tensorboardX nor tensorflow is here: pip install tensorboardX")


class Metrics:
    """Appends a line per step to ``metrics.csv``; a resumed run first drops those after its checkpoint.

    Lines that a killed process left torn, or that are not there at all, come back from the history of losses.
    """

    def __init__(self, out: pathlib.Path, start: int, events: Any = None, history: History | None = None):
        # One process of several writes.
        path = out / "metrics.csv" if jax.process_index() == 0 else pathlib.Path(os.devnull)
        if path.name != os.devnull:
            rows = _whole_rows(path) if start else {}
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, COLUMNS, restval="")
            writer.writeheader()
            writer.writerows(rows.get(step) or _from_history(history, step) for step in range(1, start + 1))
            replace_text(path, text.getvalue())
        self.file, self.events = path.open("a", newline=""), events
        self.writer = csv.DictWriter(self.file, COLUMNS)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Write the finite ones of some values."""
        values = {k: v for k, v in values.items() if np.isfinite(v)}
        self.writer.writerow({"step": step} | _digits(values))
        self.file.flush()
        add = getattr(self.events, "add_scalar", None) or getattr(self.events, "scalar", None)
        for name, value in values.items():
            if add is not None:
                add(name, value, step)

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.events is not None:
            self.events.close()


def _digits(values: dict[str, float]) -> dict[str, str]:
    return {k: f"{v:.8g}" for k, v in values.items()}


def _whole_rows(path: pathlib.Path) -> dict[int, dict[str, str]]:
    """Read the lines that are whole, by step; a line without its end, or with anything but numbers, is not."""
    if not path.is_file():
        return {}
    with path.open(newline="", errors="replace") as file:
        lines = [line for line in file if line.endswith("\n")]
    header, rows = next(csv.reader(lines[:1]), []), {}
    for cells in csv.reader(lines[1:]):
        try:
            row = dict(zip(header, cells, strict=True))
            step = int(row["step"])
            [float(value) for value in cells if value]
        except (ValueError, KeyError):
            continue
        rows[step] = {name: row.get(name, "") for name in COLUMNS}
    return rows


def _from_history(history: History | None, step: int) -> dict[str, Any]:
    """Write a lost line again, as far as a checkpoint knows it."""
    if history is None:
        return {"step": step}
    values = {"train_loss": history.train[step - 1], "val_loss": history.valid[step]}
    return {"step": step} | _digits({k: v for k, v in values.items() if np.isfinite(v)})


class Profile:
    """Traces a few steps with `jax.profiler`; does nothing without a folder."""

    def __init__(self, folder: pathlib.Path | None):
        self.folder, self.seen, self.running = folder, 0, False

    def __enter__(self) -> "Profile":
        return self

    def step(self) -> None:
        """Start or stop where the next step is the first to trace, or the first not to."""
        if self.folder is not None and self.seen == PROFILED.start:
            jax.profiler.start_trace(str(self.folder))
            self.running = True
        if self.running and self.seen == PROFILED.stop:
            self.__exit__(None, None, None)
        self.seen += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            jax.profiler.stop_trace()
            self.running = False


def plot(history: History, path: pathlib.Path, title: str) -> None:
    """Draw both losses over steps."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(np.arange(1, len(history.train) + 1), history.train, lw=0.8, alpha=0.6, label="training, each batch")
    seen = np.flatnonzero(~np.isnan(history.valid))
    axes.plot(seen, history.valid[seen], "o-", label="validation")
    axes.set(xlabel="step", ylabel="loss, nats per token", title=title)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
