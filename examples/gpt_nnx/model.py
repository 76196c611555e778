"""A small GPT in Flax NNX: rotary positions, normalised queries and keys, squared ReLU.

Dimensions in comments: B batch, T time, D width, H heads, K head width, F feed-forward width, V vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from gpt.layers import GPTConfig as GPTConfig
from gpt.layers import at_least_float32, largest_logits, rotate
from jaxtyping import Array, Float, Int


class Attention(nnx.Module):
    """Causal self-attention; the kernels keep their head axes, (D, H, K) and (H, K, D)."""

    def __init__(self, config: GPTConfig, rngs: nnx.Rngs, dtype: Any = None, qk_norm: bool = True):
        heads, options = (config.heads, config.width // config.heads), {"dtype": dtype, "rngs": rngs}
        self.query = nnx.LinearGeneral(config.width, heads, use_bias=False, **options)
        self.key = nnx.LinearGeneral(config.width, heads, use_bias=False, **options)
        self.value = nnx.LinearGeneral(config.width, heads, use_bias=False, **options)
        start = config.projection_init
        self.out = nnx.LinearGeneral(heads, config.width, axis=(-2, -1), use_bias=False, kernel_init=start, **options)
        if qk_norm:
            self.query_norm = nnx.RMSNorm(heads[1], **options)
            self.key_norm = nnx.RMSNorm(heads[1], **options)
        self.qk_norm = qk_norm

    def __call__(self, x: Float[Array, "B T D"]) -> tuple[Float[Array, "B T D"], Float[Array, " H"]]:
        query, key = self.query(x), self.key(x)
        if self.qk_norm:
            query, key = self.query_norm(query), self.key_norm(key)
        query, key = rotate(query), rotate(key)
        mixed = jax.nn.dot_product_attention(query, key, self.value(x), is_causal=True)
        return self.out(mixed), largest_logits(query, key)


class FeedForward(nnx.Module):
    """Two dense layers with a squared ReLU between."""

    def __init__(self, config: GPTConfig, rngs: nnx.Rngs, dtype: Any = None):
        start = config.projection_init
        self.up = nnx.Linear(config.width, 4 * config.width, dtype=dtype, rngs=rngs)
        self.down = nnx.Linear(4 * config.width, config.width, kernel_init=start, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return self.down(jnp.square(nnx.relu(self.up(x))))


class Block(nnx.Module):
    """Pre-norm residual block."""

    def __init__(self, config: GPTConfig, rngs: nnx.Rngs, dtype: Any = None, qk_norm: bool = True):
        self.attention_norm = nnx.RMSNorm(config.width, dtype=dtype, rngs=rngs)
        self.attention = Attention(config, rngs, dtype, qk_norm)
        self.mlp_norm = nnx.RMSNorm(config.width, dtype=dtype, rngs=rngs)
        self.mlp = FeedForward(config, rngs, dtype)

    def __call__(self, x: Float[Array, "B T D"]) -> tuple[Float[Array, "B T D"], Float[Array, " H"]]:
        mixed, largest = self.attention(self.attention_norm(x))
        x = x + mixed
        return x + self.mlp(self.mlp_norm(x)), largest


class GPT(nnx.Module):
    """Token ids (B, T) to logits (B, T, V).

    Args:
        config: the sizes.
        rngs: of the initial weights.
        dtype: of the computation; parameters are float32. None: float32.
        qk_norm: normalise queries and keys; without it QK-clip has to keep attention's logits small.
    """

    def __init__(self, config: GPTConfig, rngs: nnx.Rngs, dtype: Any = None, qk_norm: bool = True):
        self.config, self.qk_norm = config, qk_norm
        self.embed = nnx.Embed(config.vocabulary, config.width, dtype=dtype, rngs=rngs)
        self.blocks = nnx.List([Block(config, rngs, dtype, qk_norm) for _ in range(config.layers)])
        self.final_norm = nnx.RMSNorm(config.width, dtype=dtype, rngs=rngs)
        zeros = nnx.initializers.zeros_init()
        self.head = nnx.Linear(
            config.width, config.vocabulary, use_bias=False, kernel_init=zeros, dtype=dtype, rngs=rngs
        )

    def __call__(self, tokens: Int[Array, "B T"]) -> Float[Array, "B T V"]:
        return self.measured(tokens)[0]

    def measured(self, tokens: Int[Array, "B T"]) -> tuple[Float[Array, "B T V"], dict[str, Float[Array, " H"]]]:
        """Give also the largest attention logit of every head, by the path of its attention; free where unused."""
        x, largest = self.embed(tokens), {}
        for i, block in enumerate(self.blocks):
            x, largest[f"blocks/{i}/attention"] = block(x)
        return at_least_float32(self.head(self.final_norm(x))), largest
