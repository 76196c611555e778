"""Checkpoints of a training state and its loss history, by Orbax."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree


@dataclasses.dataclass
class History:
    """Losses by step; NaN where none was taken, so that its shape never changes.

    Attributes:
        train: loss of every step, shape (steps,).
        valid: validation loss after that many steps, shape (steps + 1,).
        seconds: time spent training so far.
    """

    train: np.ndarray
    valid: np.ndarray
    seconds: np.ndarray

    @classmethod
    def empty(cls, steps: int) -> "History":
        return cls(np.full(steps, np.nan, np.float32), np.full(steps + 1, np.nan, np.float32), np.zeros((), np.float64))

    def recent(self, step: int, width: int = 50) -> float:
        """Mean training loss of the last ``width`` steps before ``step``."""
        return float(np.mean(self.train[max(0, step - width) : step], dtype=np.float64))


class Checkpoints:
    """Saves and restores a run in one folder; a save is complete or absent, whenever the process dies."""

    def __init__(self, out: pathlib.Path, settings: dict):
        self.settings_file = out / "settings.json"
        self.settings = settings
        self.manager = ocp.CheckpointManager(
            (out / "checkpoints").absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2)
        )

    def start(self, resume: bool) -> int | None:
        """Give the step to resume from, None for a fresh run; refuse to mix two runs in one folder."""
        latest = self.manager.latest_step()
        if latest is not None and not resume:
            raise ValueError(f"{self.settings_file.parent} holds a run: add --resume to go on, or choose another --out")
        if self.settings_file.exists() and latest is not None:
            saved = json.loads(self.settings_file.read_text())
            changed = [f"{k} {saved.get(k)} -> {v}" for k, v in self.settings.items() if saved.get(k) != v]
            if changed:
                raise ValueError(f"cannot resume with other settings: {', '.join(changed)}")
        if jax.process_index() == 0:
            self.settings_file.write_text(json.dumps(self.settings, indent=2) + "\n")
        return latest

    def save(self, step: int, state: PyTree, history: History) -> None:
        """Save everything that the next step depends on."""
        self.manager.save(step, args=ocp.args.StandardSave(_tree(state, history)))

    def restore(self, step: int, state: PyTree) -> tuple[PyTree, History]:
        """Give the saved state, laid over the devices as ``state`` is, whatever they were when it was saved."""
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _tree(state, History.empty(self.settings["steps"])))
        saved = self.manager.restore(step, args=ocp.args.StandardRestore(target))
        return saved["state"], History(**{k: np.array(v) for k, v in saved["history"].items()})

    def close(self) -> None:
        """Wait until the last save is on disk."""
        self.manager.wait_until_finished()
        self.manager.close()


def _tree(state: PyTree, history: History) -> dict:
    return {"state": state, "history": dataclasses.asdict(history)}
