"""Train a GPT on Shakespeare with any optimizer of optax_muon.

python examples/gpt_nnx/train.py
python examples/gpt_nnx/train.py --optimizer adamw --steps 400 --out runs/adamw
python examples/gpt_nnx/train.py --resume
"""

import argparse
import dataclasses
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import matplotlib as mpl
import numpy as np
from flax import nnx
from gpt_nnx import data, training
from gpt_nnx.checkpoint import Checkpoints, History
from gpt_nnx.model import GPT, GPTConfig, generate
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import optax_muon as om

mpl.use("Agg")
import matplotlib.pyplot as plt

RUNS = pathlib.Path("runs/gpt_nnx")


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}\n")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    names = ["adamw", *om.registry]
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    recipe = training.Recipe()
    add = parser.add_argument
    add("--optimizer", default=recipe.optimizer, metavar="NAME", help=f"one of: {', '.join(names)}")
    add("--learning-rate", type=float, help=f"of the matrices (its card's, 0.02 for muon; adamw {training.ADAMW_RATE})")
    add("--other-rate", type=float, default=recipe.other_rate, help="of AdamW beside a matrix optimizer (%(default)s)")
    add("--weight-decay", type=float, default=recipe.weight_decay, help="decoupled (%(default)s)")
    add("--warmup", type=float, default=recipe.warmup, help="fraction of the steps (%(default)s)")
    add("--steps", type=int, default=recipe.steps, help="length of the run (%(default)s)")
    add("--seed", type=int, default=0, help="of weights, batches and the sample (%(default)s)")
    add("--tokens", choices=["characters", "bpe"], default="characters", help="(%(default)s)")
    add("--batch", type=int, default=32, help="sequences in a step (%(default)s)")
    for field in ("context", "layers", "width", "heads"):
        add(f"--{field}", type=int, default=getattr(GPTConfig, field), help="of the model (%(default)s)")
    add("--eval-every", type=int, default=100, help="steps between validations and checkpoints (%(default)s)")
    add("--out", type=pathlib.Path, help="folder of the run (a new one under runs/gpt_nnx)")
    add("--resume", action="store_true", help="go on from the last checkpoint of --out, or of the newest run")
    args = parser.parse_args(argv)
    for name in ("steps", "batch", "context", "layers", "width", "heads", "eval_every"):
        if getattr(args, name) < 1:
            parser.error(f"argument --{name.replace('_', '-')}: must be at least 1, not {getattr(args, name)}")
    try:
        GPTConfig(1, args.context, args.layers, args.width, args.heads)
        args.recipe = _recipe(args)
    except ValueError as error:
        parser.error(str(error))
    return args


def _recipe(args: argparse.Namespace) -> training.Recipe:
    fields = {
        field.name: getattr(args, field.name) for field in dataclasses.fields(training.Recipe) if field.name != "beta2"
    }
    return training.Recipe(**fields)


def folder(args: argparse.Namespace) -> pathlib.Path:
    """Choose the run's folder: the given one, the newest to resume, or a new one."""
    numbered = sorted(RUNS.glob("[0-9][0-9][0-9]"))
    if args.out is None and args.resume and numbered:
        return numbered[-1]
    last = int(numbered[-1].name) if numbered else 0
    return args.out or RUNS / f"{last + 1:03d}"


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    out = folder(args)
    out.mkdir(parents=True, exist_ok=True)
    corpus = data.characters() if args.tokens == "characters" else data.byte_pairs()
    config = GPTConfig(len(corpus.symbols), args.context, args.layers, args.width, args.heads)
    skipped = ("recipe", "out", "resume", "eval_every")
    checkpoints = Checkpoints(out, {k: v for k, v in vars(args).items() if k not in skipped})
    try:
        start = checkpoints.start(args.resume)
    except ValueError as error:
        raise SystemExit(f"train.py: {error}") from None
    model, optimizer = training.create(config, args.recipe, args.seed)
    history = History.empty(args.steps) if start is None else checkpoints.restore(start, model, optimizer)
    console = Console(stderr=True)
    console.print(f"{args.optimizer}, {args.steps} steps from {start or 0}, {len(corpus.train):,} tokens -> {out}")
    train(args, corpus, model, optimizer, history, start or 0, checkpoints, console)
    checkpoints.close()
    plot(history, out / "loss.png", args)
    print(sample(training.evaluated(model, optimizer), corpus, args.seed))
    step, train_loss, val_loss = args.steps, history.recent(args.steps), float(history.valid[args.steps])
    print(f"final step={step} train_loss={train_loss:.6f} val_loss={val_loss:.6f} seconds={float(history.seconds):.1f}")


def train(
    args: argparse.Namespace,
    corpus: data.Corpus,
    model: GPT,
    optimizer: nnx.Optimizer,
    history: History,
    start: int,
    checkpoints: Checkpoints,
    console: Console,
) -> None:
    """Step from ``start`` to the end; validate and save every ``eval_every`` steps and at the end."""
    key = jax.random.key(args.seed + 1)
    valid = training.validation_set(corpus, model.config, batches=20)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("step", total=args.steps, completed=start)
        for step in range(start, args.steps):
            began = time.perf_counter()
            loss = training.train_step(model, optimizer, corpus.train, jax.random.fold_in(key, step), batch=args.batch)
            history.train[step] = loss
            done = step + 1
            if done % args.eval_every == 0 or done == args.steps:
                history.valid[done] = training.evaluate(training.evaluated(model, optimizer), valid)
            history.seconds += time.perf_counter() - began
            rate = args.batch * args.context / (time.perf_counter() - began)
            progress.update(task, advance=1, description=f"loss {history.train[step]:.3f}  {rate:,.0f} tokens/s")
            if not np.isnan(history.valid[done]):
                checkpoints.save(done, model, optimizer, history)
                line = f"step {done}: train {history.recent(done):.4f}, validation {history.valid[done]:.4f}"
                progress.console.print(line, highlight=False)


def plot(history: History, path: pathlib.Path, args: argparse.Namespace) -> None:
    """Draw both losses over steps."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(np.arange(1, len(history.train) + 1), history.train, lw=0.8, alpha=0.6, label="training, each batch")
    seen = np.flatnonzero(~np.isnan(history.valid))
    axes.plot(seen, history.valid[seen], "o-", label="validation")
    axes.set(
        xlabel="step", ylabel="loss, nats per token", title=f"{args.optimizer}, {args.layers} layers of {args.width}"
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def sample(model: GPT, corpus: data.Corpus, seed: int, length: int = 400) -> str:
    """Let the model write, after a newline."""
    tokens = generate(model, jax.random.key(seed), corpus.encode("\n"), length)
    return "----\n" + corpus.decode(tokens) + "\n----"


if __name__ == "__main__":
    main()
