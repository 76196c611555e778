"""Checkpoints of a training state and its loss history, by Orbax."""

import contextlib
import dataclasses
import logging
import pathlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np
import orbax.checkpoint as ocp
from gpt import damage
from gpt import settings as run_settings
from gpt.errors import OptionError, RunError, first_line
from gpt.together import on_first
from jaxtyping import PyTree

NONE = -1  # instead of a step: there is no checkpoint


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
        """Mean training loss of the last ``width`` steps before ``step``, of those where it was finite."""
        losses = self.train[max(0, step - width) : step]
        losses = losses[np.isfinite(losses)]
        return float(np.mean(losses, dtype=np.float64)) if losses.size else np.nan


class Checkpoints:
    """Saves and restores a run in one folder; a save is complete or absent, whenever the process dies.

    Saves are asynchronous: `save` returns once the state is copied to the host. The last two finished ones are kept.

    Args:
        out: the run's folder.
        settings: what a resumed run must share.
        defaults: what an option was set to before it existed.
    """

    def __init__(self, out: pathlib.Path, settings: dict, defaults: dict | None = None):
        self.out, self.settings, self.defaults = out, settings, defaults or {}
        self.folder = (out / "checkpoints").absolute()
        self.notes: list[str] = []  # what to tell the user about the resumption, a line each
        on_finished = ocp.options.AsyncOptions(post_finalization_callback=self._list_files)
        options = ocp.CheckpointManagerOptions(max_to_keep=2, cleanup_tmp_directories=True, async_options=on_finished)
        self.manager = ocp.CheckpointManager(self.folder, options=options)
        for name in ("absl", "asyncio"):
            logging.getLogger(name).addFilter(_is_no_traceback)

    def _list_files(self) -> None:
        if jax.process_index() == 0:
            for unfinished in self.folder.glob(damage.UNFINISHED):
                damage.list_files(unfinished)

    def resume(self, how: str | None, state: PyTree) -> tuple[int, PyTree, History] | None:
        """Give step, state and history of the checkpoint to go on from, None for a fresh run.

        Args:
            how: None for a fresh run, ``last`` for the newest checkpoint, ``last-good`` for the newest whole one.
            state: laid over the devices as the restored state shall be.

        Raises:
            RunError: as `start` and `restore`.
        """
        unreadable: dict[int, str] = {}
        while (step := self.start(how, unreadable)) is not None:
            try:
                restored = self.restore(step, state)
            except RunError as error:
                # Of several processes one may read its part and another one not: they do not choose again.
                if how != "last-good" or jax.process_count() > 1:
                    raise
                unreadable[step] = str(error)
            else:
                self._put_aside([later for later in self.manager.all_steps() if later > step])
                return step, *restored
        return None

    def start(self, resume: str | bool | None, unreadable: Mapping[int, str] | None = None) -> int | None:
        """Give the step to resume from, None for a fresh run; never mix two runs in one folder.

        Args:
            resume: false for a fresh run; ``last-good`` goes past damaged checkpoints, anything else takes the last.
            unreadable: steps that are known to be damaged, and why.

        Raises:
            OptionError: if the folder holds a run that is not resumed, or one with other settings.
            RunError: if the checkpoint to resume from is damaged; it names the file and what to do.
        """
        found = on_first(lambda: self._start(resume, unreadable or {}))
        return None if found == NONE else found

    def _start(self, resume: str | bool | None, unreadable: Mapping[int, str]) -> int:
        steps = sorted(self.manager.all_steps(), reverse=True)
        if steps and not resume:
            raise OptionError(f"{self.out} holds a run: add --resume to go on, or choose another --out")
        found = self._last_whole(steps, resume == "last-good", unreadable) if steps else NONE
        if found != NONE:
            saved, without = run_settings.read(self.out, self._held_settings)
            run_settings.compare(saved, self.settings, self.defaults)
            if without:
                self.notes.append(f"{self.out / run_settings.NAME} is written again, from a checkpoint")
        run_settings.write(self.out, self.settings)
        return found

    def _held_settings(self) -> dict | None:
        """Read the settings from the newest checkpoint that still has them; all of a folder's share them."""
        held = (self.manager.metadata(step).custom_metadata for step in sorted(self.manager.all_steps(), reverse=True))
        return next((each["settings"] for each in held if each and "settings" in each), None)

    def _last_whole(self, steps: list[int], go_back: bool, unreadable: Mapping[int, str]) -> int:
        """Give the newest step, or with ``go_back`` the newest without damage."""
        found = {}
        for step in steps:
            found[step] = unreadable.get(step) or damage.damage_of(self.folder / str(step))
            if found[step] is None:
                self.notes = [f"checkpoint {later} is damaged: {why}" for later, why in found.items() if why]
                return step
            if not go_back:
                raise RunError(f"checkpoint {step} is damaged: {found[step]}; {self._cure(step)}")
        raise RunError(f"no checkpoint of {self.out} is whole: {found[steps[0]]}")

    def _cure(self, damaged: int) -> str:
        whole = [s for s in self.manager.all_steps() if s < damaged and not damage.damage_of(self.folder / str(s))]
        if not whole:
            return "there is no whole one before it"
        return f"add --resume=last-good to go on from checkpoint {max(whole)}"

    def _put_aside(self, steps: list[int]) -> None:
        """Move damaged checkpoints out of the way of those that the run will write again."""
        if steps and jax.process_index() == 0:
            aside = self.out / "damaged"
            aside.mkdir(exist_ok=True)
            for step in steps:
                place = next(p for i in range(1000) if not (p := aside / f"{step}.{i}").exists())
                (self.folder / str(step)).rename(place)
                self.notes.append(f"checkpoint {step} is now {place}")
        if steps:
            on_first(lambda: 0)  # the others look at the folder after the move
            self.manager.reload()

    def save(self, step: int, state: PyTree, history: History) -> None:
        """Save everything that the next step depends on.

        Raises:
            RunError: if this save or the one before cannot be written.
        """
        with self._writing():
            tree = ocp.args.StandardSave(_tree(state, history))
            self.manager.save(step, args=tree, custom_metadata={"settings": self.settings})

    def check(self) -> None:
        """Raise what went wrong with a save in the background."""
        with self._writing():
            self.manager.check_for_errors()

    def close(self) -> None:
        """Wait until the last save is on disk."""
        with self._writing():
            self.manager.wait_until_finished()
            self.manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None:
            self.close()
        elif jax.process_count() == 1 or not getattr(error, "alone", True):
            # A save in the background may still end well, and what stopped the run is what has to be said.
            with contextlib.suppress(RunError):
                self.close()

    def restore(self, step: int, state: PyTree) -> tuple[PyTree, History]:
        """Give the saved state, laid over the devices as ``state`` is, whatever they were when it was saved.

        Raises:
            RunError: if Orbax cannot read it.
        """
        target = jax.tree.map(ocp.utils.to_shape_dtype_struct, _tree(state, History.empty(self.settings["steps"])))
        try:
            saved = self.manager.restore(step, args=ocp.args.StandardRestore(target))
        except Exception as error:
            raise RunError(
                f"checkpoint {step} cannot be read: {first_line(error)}; {self._cure(step)}", alone=True
            ) from error
        return saved["state"], History(**{k: np.array(v) for k, v in saved["history"].items()})

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            whole = f"the checkpoints before it are whole: --out {self.out} --resume goes on"
            raise RunError(f"a checkpoint cannot be written: {first_line(error)}; {whole}", alone=True) from error


def _is_no_traceback(record: logging.LogRecord) -> bool:
    """Whether to log a record: what Orbax logs with a traceback it raises too, and a run says it in one line."""
    return not record.exc_info


def _tree(state: PyTree, history: History) -> dict:
    # A copy of the history, which the run goes on writing while the save is under way.
    return {"state": state, "history": jax.tree.map(np.array, dataclasses.asdict(history))}
