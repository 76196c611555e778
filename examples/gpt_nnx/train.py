"""Train a GPT on Shakespeare with any optimizer of optax_muon.

python examples/gpt_nnx/train.py
python examples/gpt_nnx/train.py --optimizer adamw --steps 400 --out runs/adamw
python examples/gpt_nnx/train.py --resume
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import jax.numpy as jnp
from flax import nnx
from gpt import data, options
from gpt.layers import generate
from gpt.run import run
from gpt_nnx import training
from gpt_nnx.model import GPTConfig
from jaxtyping import Array, Int, PyTree

RUNS = pathlib.Path("runs/gpt_nnx")


class Trainer:
    """The NNX model and its optimizer."""

    def __init__(self, args: argparse.Namespace, corpus: data.Corpus, config: GPTConfig):
        dtype = None if args.dtype == "float32" else jnp.dtype(args.dtype)
        self.model, self.optimizer = training.create(config, args.recipe, args.seed, dtype)
        self.ids, self.batch, self.parts = corpus.train, args.batch, args.accumulate
        self.valid = training.validation_set(corpus, config, batches=20)

    def step(self, step: int, key: Array) -> tuple[Array, Array]:
        return training.train_step(self.model, self.optimizer, self.ids, key, batch=self.batch, parts=self.parts)

    def evaluate(self) -> Array:
        return training.evaluate(training.evaluated(self.model, self.optimizer), self.valid)

    def state(self) -> PyTree:
        return nnx.to_pure_dict(nnx.state((self.model, self.optimizer)))

    def load(self, state: PyTree) -> None:
        current = nnx.state((self.model, self.optimizer))
        nnx.replace_by_pure_dict(current, state)
        nnx.update((self.model, self.optimizer), current)

    def sample(self, key: Array, prompt: Int[Array, " T"], length: int) -> Array:
        graph, state = nnx.split(training.evaluated(self.model, self.optimizer))

        def logits_of(state, tokens):
            return nnx.merge(graph, state)(tokens)

        return generate(logits_of, state, self.model.config.context, key, prompt, length)


def main(argv: list[str] | None = None) -> None:
    run(options.parse(options.parser(__doc__, RUNS), argv), Trainer)


if __name__ == "__main__":
    main()
