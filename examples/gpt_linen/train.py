"""Train the scanned Linen GPT over all devices there are, or over a CPU cut into several.

python examples/gpt_linen/train.py
python examples/gpt_linen/train.py --devices 8 --tensor 2
python examples/gpt_linen/train.py --devices 4 --resume
python examples/gpt_linen/train.py --preset gpt2-small --data data/books
python examples/gpt_linen/train.py --preset gpt2-small --compile-only v5e:8x8
"""

import argparse
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax
import jax.numpy as jnp
from gpt import data, options, shards
from gpt.errors import OptionError
from gpt.layers import generate
from gpt.run import run
from gpt.source import Text
from gpt_linen import speed
from gpt_linen.batches import Batches, FromShards, FromText
from gpt_linen.mesh import found, mesh_of
from gpt_linen.model import GPT, GPTConfig
from gpt_linen.training import Training, apply
from jax.sharding import Mesh
from jaxtyping import Array, Int, PyTree

import optax_muon as om

RUNS = pathlib.Path("runs/gpt_linen")
FEW_STEPS = 50  # a run with fewer of them is no place to time steps


def training_of(args: argparse.Namespace, config: GPTConfig, mesh: Mesh) -> Training:
    """Compile what the options ask for."""
    cut = mesh.shape["data"]
    if args.batch // args.accumulate % cut:
        micro = f"{args.batch // args.accumulate} sequences of a micro-batch"
        raise OptionError(f"argument --batch: {cut} devices do not divide the {micro}")
    dtype = None if args.dtype == "float32" else jnp.dtype(args.dtype)
    model = GPT(config, dtype, args.recipe.qk_clip is None, remat=args.remat)
    return Training(model, args.recipe, mesh)


class Trainer:
    """Parameters and optimizer state on a mesh, and the batches."""

    def __init__(self, args: argparse.Namespace, text: Text, config: GPTConfig):
        self.training = training_of(args, config, mesh_of(found(args.devices), args.tensor))
        self.batches = self._batches(args, text)
        self.params = self.training.init_params(jax.random.key(args.seed))
        self.opt_state = self.training.init_state(self.params)

    def _batches(self, args: argparse.Namespace, text: Text) -> Batches:
        size = (args.batch, args.context, self.training.by_batch)
        if isinstance(text, shards.Folder):
            return FromShards(text, *size, args.seed)
        assert isinstance(text, data.Corpus), "a text is in memory or in files"
        return FromText(text, *size)

    def step(self, step: int, key: Array) -> tuple[Array, Array]:
        tokens = self.batches.at(step, key)
        self.params, self.opt_state, loss, largest = self.training.step(self.params, self.opt_state, tokens)
        return loss, largest

    def evaluate(self) -> Array:
        return self.training.evaluate(self.params, self.opt_state, self.batches.valid)

    def state(self) -> PyTree:
        return {"params": self.params, "optimizer": self.opt_state}

    def load(self, state: PyTree) -> None:
        self.params, self.opt_state = state["params"], state["optimizer"]

    def sample(self, key: Array, prompt: Int[Array, " T"], length: int) -> Array:
        params, model = om.eval_params(self.opt_state, self.params), self.training.model

        def logits_of(params, tokens):
            return apply(model, params, tokens)[0]

        return generate(logits_of, params, model.config.context, key, prompt, length)

    def finish(self, out: pathlib.Path) -> None:
        """Time a few more steps, which no checkpoint holds, and tell."""
        tokens = self.batches.at(0, jax.random.key(0))
        timed = speed.measure(self.training, self.params, self.opt_state, tokens)
        if jax.process_index() == 0:
            print(timed, file=sys.stderr)
            timed.write(out / "speed.json")


def main(argv: list[str] | None = None) -> None:
    args = _options(argv)
    if args.compile_only:
        from gpt_linen import compile_only

        compile_only.main(args)
        return
    if args.devices is not None:
        # Read when JAX starts its first backend, which nothing above has done.
        cut = f"--xla_force_host_platform_device_count={args.devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {cut}"
    if args.distributed:
        jax.distributed.initialize()
    trainer, out = run(args, Trainer)
    if args.steps >= FEW_STEPS:
        trainer.finish(out)


def _options(argv: list[str] | None) -> argparse.Namespace:
    made = options.parser(__doc__, RUNS)
    options.add_presets(made)
    add = made.add_argument_group("devices").add_argument
    add("--devices", type=int, metavar="N", help="use N of them; a CPU is cut into N (all that are found)")
    add("--tensor", type=int, default=1, metavar="N", help="devices that heads and features are cut over (%(default)s)")
    add("--remat", action="store_true", help="compute the blocks again in the backward pass, to save memory")
    add("--distributed", action="store_true", help="call jax.distributed.initialize first, one process per host")
    add("--compile-only", metavar="TPU", help="compile the step for chips that are not here, say v5e:8x8, and report")
    args = options.parse(made, argv)
    if args.devices is not None and args.distributed:
        made.error("argument --devices: not with --distributed, which takes all devices of all hosts")
    for name in ("devices", "tensor"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            made.error(f"argument --{name}: must be at least 1, not {getattr(args, name)}")
    return args


if __name__ == "__main__":
    main()
