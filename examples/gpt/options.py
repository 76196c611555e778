"""The command line of the GPT examples."""

import argparse
import dataclasses
import pathlib

from gpt.layers import GPTConfig
from gpt.logs import summary_writer
from gpt.presets import PRESETS
from gpt.recipe import ADAMW_RATE, Recipe
from gpt.texts import TEXTS

import optax_muon as om

COUNTS = (
    "steps",
    "batch",
    "accumulate",
    "context",
    "layers",
    "width",
    "heads",
    "eval_every",
    "save_every",
    "nonfinite_steps",
)
LARGEST = 2**31 - 1  # counters of steps and shapes are 32 bits wide
LAST_SEED = 2**32 - 2  # JAX takes seeds modulo 2^32 without 64 bits, and batches have the next seed after this one


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
    add("--text", choices=sorted(TEXTS), default="shakespeare", help="(%(default)s)")
    add("--tokens", choices=["characters", "bpe"], default="characters", help="(%(default)s)")
    add("--batch", type=int, default=32, help="sequences in a step (%(default)s)")
    add("--accumulate", type=int, default=1, metavar="K", help="micro-batches that a batch is cut into (%(default)s)")
    add("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the computation (%(default)s)")
    for field in ("context", "layers", "width", "heads"):
        add(f"--{field}", type=int, default=getattr(GPTConfig, field), help="of the model (%(default)s)")
    add = made.add_argument_group("run").add_argument
    add("--eval-every", type=int, default=100, help="steps between validations (%(default)s)")
    add("--save-every", type=int, metavar="N", help="steps between checkpoints (those between validations)")
    add(
        "--nonfinite-steps",
        type=int,
        default=5,
        metavar="N",
        help="stop after N steps in a row whose loss is not finite (%(default)s)",
    )
    add("--out", type=pathlib.Path, help=f"folder of the run (a new one under {runs})")
    add(
        "--resume",
        nargs="?",
        const="last",
        choices=["last", "last-good"],
        help="go on from the last checkpoint of --out, or of the newest run; last-good: from the last undamaged one",
    )
    add("--tensorboard", action="store_true", help="write metrics for TensorBoard too")
    add("--profile", action="store_true", help="trace a few steps with jax.profiler into the run's folder")
    return made


def add_presets(made: argparse.ArgumentParser) -> None:
    """Add the sizes by name, and folders of token shards, which a model on several devices is worth."""
    add = made.add_argument_group("sizes and shards").add_argument
    add("--preset", choices=list(PRESETS), default="tiny", help="sizes that other options may change (%(default)s)")
    add("--data", type=pathlib.Path, metavar="DIR", help="token shards of make_shards.py, in place of --text")


def parse(made: Parser, argv: list[str] | None) -> argparse.Namespace:
    """Parse and check; adds ``recipe``, ``defaults`` of all options, and ``writer`` for TensorBoard."""
    made.set_defaults(**PRESETS.get(getattr(made.parse_known_args(argv)[0], "preset", "tiny"), {}))
    args = made.parse_args(argv)
    args.defaults = vars(made.parse_args([]))
    args.save_every = args.eval_every if args.save_every is None else args.save_every
    for name in COUNTS:
        if not 1 <= getattr(args, name) <= LARGEST:
            limits = "at least 1" if getattr(args, name) < 1 else f"at most {LARGEST}"
            made.error(f"argument --{name.replace('_', '-')}: must be {limits}, not {getattr(args, name)}")
    if not 0 <= args.seed <= LAST_SEED:
        made.error(f"argument --seed: must be from 0 to {LAST_SEED}, not {args.seed}")
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
