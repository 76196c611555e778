"""A run from its first step, or from its last checkpoint, to its last line."""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np
from gpt import data, logs, options
from gpt.checkpoint import Checkpoints, History
from gpt.layers import GPTConfig
from jaxtyping import Array, Int, PyTree
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Trainer(Protocol):
    """A model with its optimizer, as a run needs them."""

    def step(self, key: Array) -> tuple[Array, Array]:
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


Make = Callable[[argparse.Namespace, data.Corpus, GPTConfig], Trainer]


def run(args: argparse.Namespace, make: Make) -> None:
    """Train what ``make`` makes; leave checkpoints, metrics, a picture and the last line."""
    try:
        _run(args, make)
    except OptionError as error:
        raise SystemExit(f"{pathlib.Path(sys.argv[0]).name}: {error}") from None


class OptionError(ValueError):
    """An option that does not fit the machine, the packages or the folder; its message is one line."""


def _run(args: argparse.Namespace, make: Make) -> None:
    out = options.folder(args)
    corpus = data.characters() if args.tokens == "characters" else data.byte_pairs()
    trainer = make(args, corpus, GPTConfig(len(corpus.symbols), args.context, args.layers, args.width, args.heads))
    out.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(out, options.settings(args))
    try:
        start = checkpoints.start(args.resume)
    except ValueError as error:
        raise OptionError(str(error)) from None
    history = History.empty(args.steps)
    if start is not None:
        state, history = checkpoints.restore(start, trainer.state())
        trainer.load(state)
    console = Console(stderr=True, quiet=jax.process_index() > 0)
    console.print(f"{args.optimizer}, {args.steps} steps from {start or 0}, {len(corpus.train):,} tokens -> {out}")
    metrics = logs.Metrics(out, start or 0, args.writer and args.writer(str(out)))
    with logs.Profile(out / "profile" if args.profile else None) as profile:
        _train(args, trainer, history, start or 0, checkpoints, metrics, profile, console)
    checkpoints.close()
    metrics.close()
    written = corpus.decode(trainer.sample(jax.random.key(args.seed), corpus.encode("\n"), 400))
    train_loss, val_loss = history.recent(args.steps), float(history.valid[args.steps])
    last = f"final step={args.steps} train_loss={train_loss:.6f} val_loss={val_loss:.6f}"
    if jax.process_index() == 0:
        logs.plot(history, out / "loss.png", f"{args.optimizer}, {args.layers} layers of {args.width}")
        print(f"----\n{written}\n----\n{last} seconds={float(history.seconds):.1f}")


def _train(
    args: argparse.Namespace,
    trainer: Trainer,
    history: History,
    start: int,
    checkpoints: Checkpoints,
    metrics: logs.Metrics,
    profile: logs.Profile,
    console: Console,
) -> None:
    """Step from ``start`` to the end; validate and save every ``eval_every`` steps and at the end."""
    key, rate = jax.random.key(args.seed + 1), args.recipe.rate(args.recipe.peak)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("step", total=args.steps, completed=start)
        for step in range(start, args.steps):
            profile.step()
            began = time.perf_counter()
            loss, largest = trainer.step(jax.random.fold_in(key, step))
            history.train[step] = loss
            done = step + 1
            speed = args.batch * args.context / (time.perf_counter() - began)
            if done % args.eval_every == 0 or done == args.steps:
                history.valid[done] = trainer.evaluate()
            history.seconds += time.perf_counter() - began
            values: dict[str, Any] = {"train_loss": history.train[step], "val_loss": history.valid[done]}
            values |= {"learning_rate": float(rate(step)), "max_logit": float(largest), "tokens_per_second": speed}
            metrics.write(done, values)
            progress.update(task, advance=1, description=f"loss {history.train[step]:.3f}  {speed:,.0f} tokens/s")
            if not np.isnan(history.valid[done]):
                checkpoints.save(done, trainer.state(), history)
                line = f"step {done}: train {history.recent(done):.4f}, validation {history.valid[done]:.4f}"
                progress.console.print(line, highlight=False)
