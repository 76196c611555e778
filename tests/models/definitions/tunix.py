"""Tunix: https://github.com/google/tunix, models in NNX with Einsum classes of their own."""

import jax.numpy as jnp
from flax import nnx

from tests.models.definitions._definition import Nnx, absent, bare, definition, ints, shape

COMMON = """
    input_embedding    embedding io
    q_proj/w           hidden ioo
    k_proj/w           hidden ioo
    v_proj/w           hidden ioo
    o_proj/w           hidden iio
    lm_head/w          head io
    q_einsum/w         hidden oio
    kv_einsum/w        hidden boio
    qkv_einsum/w       hidden boio
    attn_vec_einsum/w  hidden iio
    w                  vector
    """
absent("qwix", "huggingface_hub", "safetensors", "orbax", "sentencepiece")
bare("tunix.models")
bare("tunix.utils")
bare("tunix.generate")
MASK = shape(2, 8, 8, dtype=jnp.bool_)


@definition("tunix/gemma", "tunix/models/gemma/model.py", COMMON)
def gemma():
    from tunix.models.gemma import model

    kinds = (model.AttentionType.GLOBAL,) * 2
    config = model.ModelConfig(2, 101, 32, 64, 4, 8, 1, None, False, False, kinds)
    return Nnx(lambda: model.Gemma(config, rngs=nnx.Rngs(0)), (ints(2, 8), ints(2, 8), None, MASK))


@definition("tunix/gemma_mha", "tunix/models/gemma/model.py", COMMON)
def gemma_mha():
    from tunix.models.gemma import model

    kinds = (model.AttentionType.GLOBAL,) * 2
    config = model.ModelConfig(2, 101, 32, 64, 4, 8, 4, 30.0, True, True, kinds)
    return Nnx(lambda: model.Gemma(config, rngs=nnx.Rngs(0)), (ints(2, 8), ints(2, 8), None, MASK))


@definition("tunix/llama3", "tunix/models/llama3/model.py", COMMON)
def llama3():
    from tunix.models.llama3 import model

    config = model.ModelConfig(2, 101, 32, 64, 4, 8, 2, 10000, 1e-6)
    return Nnx(lambda: model.Llama3(config, rngs=nnx.Rngs(0)), (ints(2, 8), ints(2, 8), None, MASK))


@definition("tunix/qwen3", "tunix/models/qwen3/model.py", COMMON)
def qwen3():
    from tunix.models.qwen3 import model

    config = model.ModelConfig(2, 101, 32, 64, 4, 8, 2, 10000, 1e-6)
    return Nnx(lambda: model.Qwen3(config, rngs=nnx.Rngs(0)), (ints(2, 8), ints(2, 8), None, MASK))


@definition(
    "tunix/qwen3_moe",
    "tunix/models/qwen3/model.py",
    COMMON
    + """
    router/kernel     router io
    mlp/gate_proj     hidden bio
    mlp/up_proj       hidden bio
    mlp/down_proj     hidden bio
    """,
)
def qwen3_moe():
    from tunix.models.qwen3 import model

    config = model.ModelConfig(2, 101, 32, 64, 4, 8, 2, 10000, 1e-6, num_experts=4, num_experts_per_tok=2)
    return Nnx(lambda: model.Qwen3(config, rngs=nnx.Rngs(0)), (ints(2, 8), ints(2, 8), None, MASK))


@definition("tunix/qwen2", "tunix/models/qwen2/model.py", COMMON + "q_bias vector\n k_bias vector\n v_bias vector")
def qwen2():
    from tunix.models.qwen2 import model

    config = model.ModelConfig(2, 101, 32, 64, 4, 8, 2, 10000, 1e-6)
    return Nnx(lambda: model.Qwen2(config, rngs=nnx.Rngs(0)), (ints(2, 8), ints(2, 8), None, MASK))


@definition("tunix/gemma3", "tunix/models/gemma3/model.py", COMMON)
def gemma3():
    from tunix.models.gemma3 import model

    config = model.ModelConfig(
        num_layers=2, num_embed=101, embed_dim=32, hidden_dim=64, num_heads=4, head_dim=8, num_kv_heads=1,
        sliding_window_size=4, param_dtype=jnp.float32,
    )  # fmt: skip
    return Nnx(lambda: model.Gemma3(config, rngs=nnx.Rngs(0)), (ints(2, 8), ints(2, 8), None, MASK))
