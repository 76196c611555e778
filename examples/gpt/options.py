"""The command line of the GPT examples."""

import argparse
import dataclasses
import pathlib

from gpt.layers import GPTConfig
from gpt.logs import summary_writer
from gpt.recipe import ADAMW_RATE, Recipe

import optax_muon as om


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}\n")


def parser(description: str | None, runs: pathlib.Path) -> Parser:
    """Make the options that both scripts have; ``runs`` is where they put a run without ``--out``."""
    made = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.set_defaults(runs=runs)
    names, recipe = ["adamw", *om.registry], Recipe()
    add = made.add_argument_group("optimizer").add_argument
    add("--optimizer", default=recipe.optimizer, metavar="NAME", help=f"one of: {', '.join(names)}")
    add("--learning-rate", type=float, help=f"of the matrices (its card's, 0.02 for muon; adamw {ADAMW_RATE})")
    add("--other-rate", type=float, default=recipe.other_rate, help="of AdamW beside a matrix optimizer (%(default)s)")
    add("--weight-decay", type=float, default=recipe.weight_decay, help="decoupled (%(default)s)")
    add("--warmup", type=float, default=recipe.warmup, help="fraction of the steps (%(default)s)")
    add("--schedule", choices=["linear", "cosine", "wsd"], default=recipe.schedule, help="of decay (%(default)s)")
    add("--clip", type=float, metavar="NORM", help="largest norm of the whole gradient (any)")
    add(
        "--qk-clip",
        type=float,
        metavar="TAU",
        help="largest attention logit, in place of query and key norms; inf: any",
    )
    add("--steps", type=int, default=recipe.steps, help="length of the run (%(default)s)")
    add = made.add_argument_group("model and data").add_argument
    add("--seed", type=int, default=0, help="of weights, batches and the sample (%(default)s)")
    add("--tokens", choices=["characters", "bpe"], default="characters", help="(%(default)s)")
    add("--batch", type=int, default=32, help="sequences in a step (%(default)s)")
    add("--accumulate", type=int, default=1, metavar="K", help="micro-batches that a batch is cut into (%(default)s)")
    add("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the computation (%(default)s)")
    for field in ("context", "layers", "width", "heads"):
        add(f"--{field}", type=int, default=getattr(GPTConfig, field), help="of the model (%(default)s)")
    add = made.add_argument_group("run").add_argument
    add("--eval-every", type=int, default=100, help="steps between validations and checkpoints (%(default)s)")
    add("--out", type=pathlib.Path, help=f"folder of the run (a new one under {runs})")
    add("--resume", action="store_true", help="go on from the last checkpoint of --out, or of the newest run")
    add("--tensorboard", action="store_true", help="write metrics for TensorBoard too")
    add("--profile", action="store_true", help="trace a few steps with jax.profiler into the run's folder")
    return made


def parse(made: Parser, argv: list[str] | None) -> argparse.Namespace:
    """Parse and check; adds ``recipe``, and ``writer`` for TensorBoard."""
    args = made.parse_args(argv)
    for name in ("steps", "batch", "accumulate", "context", "layers", "width", "heads", "eval_every"):
        if getattr(args, name) < 1:
            made.error(f"argument --{name.replace('_', '-')}: must be at least 1, not {getattr(args, name)}")
    if args.batch % args.accumulate:
        made.error(f"argument --accumulate: {args.accumulate} micro-batches do not divide a batch of {args.batch}")
    try:
        GPTConfig(1, args.context, args.layers, args.width, args.heads)
        fields = [field.name for field in dataclasses.fields(Recipe) if hasattr(args, field.name)]
        args.writer = summary_writer() if args.tensorboard else None
        args.recipe = Recipe(**{name: getattr(args, name) for name in fields})
    except ValueError as error:
        made.error(str(error))
    return args


def folder(args: argparse.Namespace) -> pathlib.Path:
    """Choose the run's folder: the given one, the newest to resume, or a new one."""
    numbered = sorted(args.runs.glob("[0-9][0-9][0-9]"))
    if args.out is None and args.resume and numbered:
        return numbered[-1]
    last = int(numbered[-1].name) if numbered else 0
    return args.out or args.runs / f"{last + 1:03d}"


def settings(args: argparse.Namespace) -> dict:
    """Give what a resumed run must share with the first one; where and how it runs may change."""
    free = (
        "recipe",
        "runs",
        "out",
        "resume",
        "eval_every",
        "tensorboard",
        "writer",
        "profile",
        "devices",
        "distributed",
    )
    return {k: v for k, v in vars(args).items() if k not in free}
