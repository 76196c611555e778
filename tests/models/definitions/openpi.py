"""openpi: https://github.com/Physical-Intelligence/openpi, Gemma with two experts and adapters in Linen."""

import sys
import types

import flax.linen as nn
import jax
import jax.numpy as jnp

from tests.models.definitions._definition import Linen, absent, definition, ints, shape

absent("augmax", "torch", "orbax", "safetensors", "transformers", "sentencepiece", "wandb", "tyro")
sys.modules["torch"] = types.SimpleNamespace(Tensor=jax.Array)  # pyright: ignore[reportArgumentType]
GEMMA = """
    input_embedding       embedding io
    final_norm*/scale     vector
    layers/*/scale        vector
    layers/*/Dense_0/bias vector
    layers/*/Dense_0/kernel hidden bio/3?
    q_einsum*/w           hidden boio
    kv_einsum*/w          hidden bboio
    attn_vec_einsum*/w    hidden biio
    q_einsum*/lora_a      hidden boio
    q_einsum*/lora_b      hidden bbio
    kv_einsum*/lora_a     hidden bboio
    kv_einsum*/lora_b     hidden bbbio
    attn_vec_einsum*/lora_a   hidden bbio
    attn_vec_einsum*/lora_b   hidden bbio
    gating_einsum*        hidden bbio
    linear*               hidden bio
"""


def gemma(configs, adarms):
    """The language model of both experts, called on embeddings as the policy calls it."""
    from openpi.models import gemma as module

    class Forward(module.Module):
        """Both experts' embeddings after the table."""

        def __call__(self, tokens, suffix, positions, mask, cond):
            return super().__call__([self.embed(tokens), suffix], positions, mask, adarms_cond=[None, cond])[0]

    class Whole(nn.Module):
        """Around it, as its method called ``init`` stands in the way of Linen's."""

        @nn.compact
        def __call__(self, *inputs):
            return Forward(configs=configs, embed_dtype="float32", adarms=adarms)(*inputs)

    return Whole()


@definition("openpi/gemma_experts", "src/openpi/models/gemma.py", GEMMA)
def gemma_experts():
    from openpi.models import gemma as module

    config = module.get_config("dummy")
    return Linen(
        gemma([config, config], True),
        (ints(2, 4), shape(2, 3, 64), ints(2, 7), shape(2, 7, 7, dtype=jnp.bool_), shape(2, 64)),
    )
