"""What both models share: sizes, rotary positions, the largest attention logits, sampling.

Dimensions in comments: B batch, T time, D width, H heads, K head width, F feed-forward width, V vocabulary.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

Projections = Literal["zeros", "small"]


@dataclasses.dataclass(frozen=True)
class GPTConfig:
    """Sizes of the model, and how the last layer of every residual branch starts.

    Attributes:
        projections: "zeros", so that blocks start as nothing; "small", for optimizers that turn weights.
    """

    vocabulary: int
    context: int = 128
    layers: int = 4
    width: int = 128
    heads: int = 4
    projections: Projections = "zeros"

    def __post_init__(self):
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} must be an even multiple of heads {self.heads}")

    @property
    def projection_init(self) -> Callable[..., Array]:
        """Initialise the last layer of a branch: small as in GPT-2, so that the sum over all branches stays of size."""
        if self.projections == "zeros":
            return jax.nn.initializers.zeros
        return jax.nn.initializers.variance_scaling(0.5 / self.layers, "fan_in", "normal")


def rotate(x: Float[Array, "B T H K"]) -> Float[Array, "B T H K"]:
    """Rotary position embedding: turn pairs of features by angles that grow with time."""
    time, half = x.shape[1], x.shape[-1] // 2
    frequency = 1e4 ** -(jnp.arange(half) / half)
    angle = (jnp.arange(time)[:, None] * frequency)[None, :, None, :]  # (1, T, 1, K/2)
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def at_least_float32(x: Array) -> Array:
    """Bring low precision to float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def largest_logits(query: Float[Array, "B T H K"], key: Float[Array, "B T H K"]) -> Float[Array, " H"]:
    """Largest attention logit of each head, over the batch and all pairs that the causal mask leaves."""
    time, width = query.shape[1], query.shape[-1]
    logits = jnp.einsum("bthk,bshk->bhts", at_least_float32(query), at_least_float32(key)) / width**0.5
    seen = jnp.tril(jnp.ones((time, time), bool))
    return jax.lax.stop_gradient(jnp.where(seen, logits, -jnp.inf).max(axis=(0, 2, 3)))


def generate(
    logits_of: Callable[[PyTree, Int[Array, "1 T"]], Float[Array, "1 T V"]],
    weights: PyTree,
    context: int,
    key: Array,
    prompt: Int[Array, " T"],
    length: int,
    temperature: float = 0.8,
) -> Int[Array, " length"]:
    """Sample ``length`` tokens after ``prompt``, one at a time over a sliding window of the last ``context``."""
    window = jnp.zeros(context, jnp.int32).at[: prompt.shape[0]].set(prompt)

    def step(weights, carry, key):
        window, filled = carry
        logits = logits_of(weights, window[None])[0, filled - 1]
        token = jax.random.categorical(key, logits / temperature)
        full = filled == context
        window = jnp.where(full, jnp.roll(window, -1), window)
        position = jnp.where(full, context - 1, filled)
        return (window.at[position].set(token), position + 1), token

    @jax.jit
    def write(weights, keys):
        return jax.lax.scan(functools.partial(step, weights), (window, prompt.shape[0]), keys)[1]

    return write(weights, jax.random.split(key, length))
