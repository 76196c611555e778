"""Small problems on which every optimizer of the registry is compared."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from gpt import data
from gpt.layers import GPTConfig, Projections
from gpt_nnx.model import GPT
from images import mnist
from jaxtyping import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Workload:
    """A model, its loss and its batches; everything but the data is a function of a key or a seed.

    Attributes:
        make: builds the model from its random streams, and from how residual branches start (`GPTConfig.projections`).
        loss: mean loss of a model on a batch.
        draw: a batch from a key.
        valid: batches held out, stacked along the first axis.
    """

    make: Callable[[nnx.Rngs, Projections], Any]
    loss: Callable[[Any, Any], Array]
    draw: Callable[[Array], Any]
    valid: PyTree


def shakespeare(config: tuple[int, int, int, int] = (64, 2, 64, 4), batch: int = 16) -> Workload:
    """A character GPT: context, layers, width and heads in ``config``; loss in nats per character."""
    corpus = data.characters()
    sizes = GPTConfig(len(corpus.symbols), *config)

    def loss(model: GPT, tokens: Array) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(tokens[:, :-1]), tokens[:, 1:]).mean()

    return Workload(
        lambda rngs, projections: GPT(dataclasses.replace(sizes, projections=projections), rngs),
        loss,
        lambda key: data.sample(corpus.train, key, batch, sizes.context),
        data.windows(corpus.valid, 8 * 64, sizes.context).reshape(8, 64, -1),
    )


class MLP(nnx.Module):
    """784 pixels to ten digits through two hidden layers."""

    def __init__(self, widths: tuple[int, int], rngs: nnx.Rngs):
        self.up = nnx.Linear(784, widths[0], rngs=rngs)
        self.mlp = nnx.Linear(*widths, rngs=rngs)
        self.head = nnx.Linear(widths[1], 10, rngs=rngs)

    def __call__(self, pixels: Array) -> Array:
        return self.head(nnx.relu(self.mlp(nnx.relu(self.up(pixels)))))


def digits(widths: tuple[int, int] = (128, 64), batch: int = 64) -> Workload:
    """An MLP on four thousand images of digits, a thousand held out; loss in nats."""
    images = mnist()
    pixels, labels = jnp.asarray(images.train), jnp.asarray(images.train_labels)

    def loss(model: MLP, batch: tuple[Array, Array]) -> Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(batch[0]), batch[1]).mean()

    def draw(key: Array) -> tuple[Array, Array]:
        chosen = jax.random.randint(key, (batch,), 0, len(labels))
        return pixels[chosen], labels[chosen]

    valid = tuple(x.reshape(8, -1, *x.shape[1:]) for x in (np.asarray(images.test), np.asarray(images.test_labels)))
    return Workload(lambda rngs, _: MLP(widths, rngs), loss, draw, valid)


WORKLOADS: dict[str, Callable[[], Workload]] = {"shakespeare": shakespeare, "digits": digits}
