"""A run from its first step, or from its last checkpoint, to its last line."""

import argparse
import dataclasses
import os
import pathlib
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from gpt import folder, logs, settings
from gpt.checkpoint import Checkpoints, History
from gpt.errors import RunError
from gpt.layers import GPTConfig
from gpt.source import text_of
from gpt.stopping import Signals, all_finite
from jaxtyping import Array, Int, PyTree
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Trainer(Protocol):
    """A model with its optimizer, as a run needs them."""

    def step(self, step: int, key: Array) -> tuple[Array, Array]:
        """Take one step; give the loss before it and the largest attention logit, -inf where it is not measured."""
        ...

    def evaluate(self) -> Array:
        """Validation loss at the evaluation parameters."""
        ...

    def state(self) -> PyTree:
        """Everything that a checkpoint holds."""
        ...

    def load(self, state: PyTree) -> None:
        """Go on from a state that `state` gave."""
        ...

    def sample(self, key: Array, prompt: Int[Array, " T"], length: int) -> Array:
        """Write ``length`` tokens after ``prompt``."""
        ...


T = TypeVar("T", bound=Trainer)
Make = Callable[[argparse.Namespace, Any, GPTConfig], T]


def run(args: argparse.Namespace, make: Make[T]) -> tuple[T, pathlib.Path]:
    """Train what ``make`` makes; leave checkpoints, metrics, a picture and the last line.

    Returns:
        What was trained, and the run's folder.

    Raises:
        SystemExit: if the run stops before its last step; why is said in one line.
    """
    try:
        return _run(args, make)
    except KeyboardInterrupt:
        _stop(RunError("stopped by SIGINT", 128 + signal.SIGINT, alone=True))
    except RunError as error:
        _stop(error)
    except OSError as error:
        _stop(RunError(f"{error}; finished checkpoints stay as they are", alone=True))


def _stop(error: RunError) -> NoReturn:
    print(f"{pathlib.Path(sys.argv[0]).name}: {error}", file=sys.stderr, flush=True)
    if error.alone and jax.process_count() > 1:
        os._exit(error.code)  # to leave in order would wait for processes that wait for this one
    raise SystemExit(error.code) from None


def _run(args: argparse.Namespace, make: Make[T]) -> tuple[T, pathlib.Path]:
    with folder.claimed(args) as out:
        text = text_of(args)
        sizes = args.context, args.layers, args.width, args.heads
        trainer = make(args, text, GPTConfig(text.vocabulary, *sizes, args.recipe.projections))
        console = Console(stderr=True, quiet=jax.process_index() > 0)
        chosen, defaults = ({**options, "digest": text.digest} for options in (settings.chosen(args), args.defaults))
        with Signals() as signals, Checkpoints(out, chosen, defaults) as checkpoints:
            start, history = 0, History.empty(args.steps)
            resumed = checkpoints.resume(args.resume, trainer.state())
            if resumed is not None:
                start, state, history = resumed
                trainer.load(state)
            for note in checkpoints.notes:
                console.print(note, highlight=False, soft_wrap=True)
            console.print(f"{args.optimizer}, {args.steps} steps from {start}, {text.size:,} tokens -> {out}")
            metrics = logs.Metrics(out, start, args.writer and args.writer(str(out)), history)
            with logs.Profile(out / "profile" if args.profile else None) as profile:
                Loop(args, trainer, history, checkpoints, metrics, profile, console, signals).run(start)
        metrics.close()
        written = text.decode(trainer.sample(jax.random.key(args.seed), jnp.asarray(text.encode("\n")), 400))
        train_loss, val_loss = history.recent(args.steps), float(history.valid[args.steps])
        last = f"final step={args.steps} train_loss={train_loss:.6f} val_loss={val_loss:.6f}"
        if jax.process_index() == 0:
            logs.plot(history, out / "loss.png", f"{args.optimizer}, {args.layers} layers of {args.width}")
            print(f"----\n{written}\n----\n{last} seconds={float(history.seconds):.1f}")
        return trainer, out


@dataclasses.dataclass
class Loop:
    """The steps of a run; validates every ``eval_every`` steps, saves every ``save_every``, both at the end."""

    args: argparse.Namespace
    trainer: Trainer
    history: History
    checkpoints: Checkpoints
    metrics: logs.Metrics
    profile: logs.Profile
    console: Console
    signals: Signals
    nonfinite: int = 0  # steps in a row until now

    def run(self, start: int) -> None:
        """Step from ``start`` to the end.

        Raises:
            RunError: where losses stay not finite, at a signal, or where a checkpoint cannot be written.
        """
        key = jax.random.key(self.args.seed + 1)
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        with Progress(*columns, console=self.console) as progress:
            task = progress.add_task("step", total=self.args.steps, completed=start)
            for step in range(start, self.args.steps):
                self.profile.step()
                speed = self._step(step, key)
                text = f"loss {self.history.train[step]:.3f}  {speed:,.0f} tokens/s"
                progress.update(task, advance=1, description=text)
                self._keep(step + 1)

    def _step(self, step: int, key: Array) -> float:
        """Take a step and write it down; give the tokens per second."""
        args, history, done = self.args, self.history, step + 1
        began = time.perf_counter()
        loss, largest = self.trainer.step(step, jax.random.fold_in(key, step))
        history.train[step] = loss
        speed = args.batch * args.context / (time.perf_counter() - began)
        if self._due(done, args.eval_every):
            history.valid[done] = self.trainer.evaluate()
            line = f"step {done}: train {history.recent(done):.4f}, validation {history.valid[done]:.4f}"
            self.console.print(line, highlight=False)
        history.seconds += time.perf_counter() - began
        values: dict[str, Any] = {"train_loss": history.train[step], "val_loss": history.valid[done]}
        rate = float(args.recipe.rate(args.recipe.peak)(step))
        values |= {"learning_rate": rate, "max_logit": float(largest), "tokens_per_second": speed}
        self.metrics.write(done, values)
        return speed

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.args.steps

    def _keep(self, done: int) -> None:
        """Save where it is time to, or stop."""
        loss, stop = self.history.train[done - 1], self.signals.asked(done)
        self.nonfinite = 0 if np.isfinite(loss) else self.nonfinite + 1
        self.checkpoints.check()
        saved = False
        if stop or self._due(done, self.args.save_every):
            state = self.trainer.state()
            saved = bool(np.isfinite(loss)) and all_finite(state)
            if saved:
                self.checkpoints.save(done, state, self.history)
        ended = done == self.args.steps and not (saved and np.isfinite(self.history.valid[done]))
        if ended or self.nonfinite >= self.args.nonfinite_steps:
            raise RunError(f"the loss or the state is not finite after step {done}; {self._last_saved()}")
        if stop and done < self.args.steps:
            raise self.signals.stopped(done, self._last_saved())

    def _last_saved(self) -> str:
        last = self.checkpoints.manager.latest_step()
        if last is None:
            return "nothing is saved"
        return f"checkpoint {last} is saved: --out {self.checkpoints.out} --resume goes on"
