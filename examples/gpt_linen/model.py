"""The same GPT in Flax Linen: the blocks are scanned, so their parameters are stacks with the layers first.

Dimensions in comments: L layers, B batch, T time, D width, H heads, K head width, F feed-forward width, V vocabulary.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from gpt.layers import GPTConfig as GPTConfig
from gpt.layers import at_least_float32, largest_logits, rotate
from jaxtyping import Array, Float, Int, PyTree


class Attention(nn.Module):
    """Causal self-attention; the kernels keep their head axes, (D, H, K) and (H, K, D)."""

    config: GPTConfig
    dtype: Any = None
    qk_norm: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> tuple[Float[Array, "B T D"], Float[Array, " H"]]:
        heads = (self.config.heads, self.config.width // self.config.heads)

        def project(name: str) -> Float[Array, "B T H K"]:
            return nn.DenseGeneral(heads, use_bias=False, dtype=self.dtype, name=name)(x)

        query, key, value = project("query"), project("key"), project("value")
        if self.qk_norm:
            query = nn.RMSNorm(dtype=self.dtype, name="query_norm")(query)
            key = nn.RMSNorm(dtype=self.dtype, name="key_norm")(key)
        query, key = rotate(query), rotate(key)
        mixed = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        start = self.config.projection_init
        out = nn.DenseGeneral(
            self.config.width, axis=(-2, -1), use_bias=False, kernel_init=start, dtype=self.dtype, name="out"
        )
        return out(mixed), largest_logits(query, key)


class Block(nn.Module):
    """Pre-norm residual block; the second result is the scan's, here the largest attention logits."""

    config: GPTConfig
    dtype: Any = None
    qk_norm: bool = True
    activations: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], _: None) -> tuple[Float[Array, "B T D"], Float[Array, " H"]]:
        normed = nn.RMSNorm(dtype=self.dtype, name="attention_norm")(x)
        mixed, largest = Attention(self.config, self.dtype, self.qk_norm, name="attention")(normed)
        x = _lay(x + mixed, self.activations)
        up = nn.Dense(4 * self.config.width, dtype=self.dtype, name="mlp_up")
        start = self.config.projection_init
        down = nn.Dense(self.config.width, kernel_init=start, dtype=self.dtype, name="mlp_down")
        normed = nn.RMSNorm(dtype=self.dtype, name="mlp_norm")(x)
        return _lay(x + down(jnp.square(nn.relu(up(normed)))), self.activations), largest


class GPT(nn.Module):
    """Token ids (B, T) to logits (B, T, V), and the largest attention logit of every head (L, H).

    Args:
        config: the sizes.
        dtype: of the computation; parameters are float32. None: float32.
        qk_norm: normalise queries and keys; without it QK-clip has to keep attention's logits small.
        activations: sharding of the activations, which keeps them split by batch alone: what travels is the weights.
        remat: keep the blocks' inputs alone for the backward pass, which computes the rest again.
    """

    config: GPTConfig
    dtype: Any = None
    qk_norm: bool = True
    activations: Any = None
    remat: bool = False

    @nn.compact
    def __call__(self, tokens: Int[Array, "B T"]) -> tuple[Float[Array, "B T V"], Float[Array, "L H"]]:
        embed = nn.Embed(self.config.vocabulary, self.config.width, dtype=self.dtype, name="embed")
        # A scan's body is never merged with another, so nothing has to prevent that.
        block = nn.remat(Block, prevent_cse=False) if self.remat else Block
        scan = nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True}, length=self.config.layers)
        blocks = scan(self.config, self.dtype, self.qk_norm, self.activations, name="blocks")
        x, largest = blocks(_lay(embed(tokens), self.activations), None)
        zeros = nn.initializers.zeros_init()
        head = nn.Dense(self.config.vocabulary, use_bias=False, kernel_init=zeros, dtype=self.dtype, name="head")
        x = nn.RMSNorm(dtype=self.dtype, name="final_norm")(x)
        return at_least_float32(_lay(head(x), self.activations)), largest


def _lay(x: Array, sharding: Any) -> Array:
    return x if sharding is None else jax.lax.with_sharding_constraint(x, sharding)


def from_nnx(params: PyTree) -> PyTree:
    """Turn the parameters of the NNX model, as nested dicts, into these: its blocks are stacked."""
    blocks = [
        {k: v for k, v in block.items() if k != "mlp"} | {f"mlp_{k}": v for k, v in block["mlp"].items()}
        for _, block in sorted(params["blocks"].items())
    ]
    return {**params, "blocks": jax.tree.map(lambda *layers: jnp.stack(layers), *blocks)}
