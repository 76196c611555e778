"""A small GPT in Flax NNX: rotary positions, normalised queries and keys, squared ReLU.

Dimensions in comments: B batch, T time, D width, H heads, K head width, F feed-forward width, V vocabulary.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class GPTConfig:
    """Sizes of the model."""

    vocabulary: int
    context: int = 128
    layers: int = 4
    width: int = 128
    heads: int = 4

    def __post_init__(self):
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width {self.width} must be an even multiple of heads {self.heads}")


def rotate(x: Float[Array, "B T H K"]) -> Float[Array, "B T H K"]:
    """Rotary position embedding: turn pairs of features by angles that grow with time."""
    time, half = x.shape[1], x.shape[-1] // 2
    frequency = 1e4 ** -(jnp.arange(half) / half)
    angle = (jnp.arange(time)[:, None] * frequency)[None, :, None, :]  # (1, T, 1, K/2)
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([a * jnp.cos(angle) - b * jnp.sin(angle), a * jnp.sin(angle) + b * jnp.cos(angle)], axis=-1)


class Attention(nnx.Module):
    """Causal self-attention; the kernels keep their head axes, (D, H, K) and (H, K, D)."""

    def __init__(self, config: GPTConfig, rngs: nnx.Rngs):
        heads = (config.heads, config.width // config.heads)
        self.query = nnx.LinearGeneral(config.width, heads, use_bias=False, rngs=rngs)
        self.key = nnx.LinearGeneral(config.width, heads, use_bias=False, rngs=rngs)
        self.value = nnx.LinearGeneral(config.width, heads, use_bias=False, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.out = nnx.LinearGeneral(heads, config.width, axis=(-2, -1), use_bias=False, kernel_init=zeros, rngs=rngs)
        self.query_norm = nnx.RMSNorm(heads[1], rngs=rngs)
        self.key_norm = nnx.RMSNorm(heads[1], rngs=rngs)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        query = rotate(self.query_norm(self.query(x)))
        key = rotate(self.key_norm(self.key(x)))
        mixed = jax.nn.dot_product_attention(query, key, self.value(x), is_causal=True)
        return self.out(mixed)


class FeedForward(nnx.Module):
    """Two dense layers with a squared ReLU between."""

    def __init__(self, config: GPTConfig, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        self.up = nnx.Linear(config.width, 4 * config.width, rngs=rngs)
        self.down = nnx.Linear(4 * config.width, config.width, kernel_init=zeros, rngs=rngs)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return self.down(jnp.square(nnx.relu(self.up(x))))


class Block(nnx.Module):
    """Pre-norm residual block."""

    def __init__(self, config: GPTConfig, rngs: nnx.Rngs):
        self.attention_norm = nnx.RMSNorm(config.width, rngs=rngs)
        self.attention = Attention(config, rngs)
        self.mlp_norm = nnx.RMSNorm(config.width, rngs=rngs)
        self.mlp = FeedForward(config, rngs)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class GPT(nnx.Module):
    """Token ids (B, T) to logits (B, T, V)."""

    def __init__(self, config: GPTConfig, rngs: nnx.Rngs):
        self.config = config
        self.embed = nnx.Embed(config.vocabulary, config.width, rngs=rngs)
        self.blocks = nnx.List([Block(config, rngs) for _ in range(config.layers)])
        self.final_norm = nnx.RMSNorm(config.width, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.head = nnx.Linear(config.width, config.vocabulary, use_bias=False, kernel_init=zeros, rngs=rngs)

    def __call__(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T V"]:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))


def generate(model: GPT, key: Array, prompt: Int[Array, " T"], length: int, temperature: float = 0.8) -> Array:
    """Sample ``length`` tokens after ``prompt``, one at a time over a sliding window of the last ``context``."""
    context = model.config.context
    window = jnp.zeros(context, jnp.int32).at[: prompt.shape[0]].set(prompt)
    graph, state = nnx.split(model)

    def step(carry, key):
        window, filled = carry
        logits = nnx.merge(graph, state)(window[None])[0, filled - 1]
        token = jax.random.categorical(key, logits / temperature)
        full = filled == context
        window = jnp.where(full, jnp.roll(window, -1), window)
        position = jnp.where(full, context - 1, filled)
        return (window.at[position].set(token), position + 1), token

    _, tokens = jax.jit(lambda keys: jax.lax.scan(step, (window, prompt.shape[0]), keys))(jax.random.split(key, length))
    return tokens
