"""MaxText: https://github.com/AI-Hypercomputer/maxtext, decoders of NNX layers in Linen ones, scanned on axis 1."""

import functools
import os
import pathlib
import sys

import jax

from tests.models.definitions._definition import Linen, Nnx, absent, definition, ints

absent(
    "cloud_accelerator_diagnostics", "cloud_tpu_diagnostics", "datasets", "drjax", "gcsfs", "google", "grain",
    "huggingface_hub", "jsonlines", "librosa", "maxtext.checkpoint_conversion", "maxtext.common.checkpointing",
    "maxtext.common.grain_utility", "ml_goodput_measurement", "orbax.checkpoint.experimental", "pathwaysutils",
    "psutil", "safetensors", "sentencepiece", "soundfile", "sympy", "tensorboardX", "tensorflow",
    "tensorflow_datasets", "tensorflow_text", "tiktoken", "tokamax", "tokenizers", "transformer_engine",
    "transformers", "tunix",
)  # fmt: skip
SOURCE = pathlib.Path(os.environ["MODELS_SOURCE"])
sys.path.append(str(SOURCE / "qwix"))
WHERE = "src/maxtext/models/{}.py"
# Layers stand on axis 1 wherever there are several.
COMMON = """
    token_embedder/embedding    embedding io
    logits_dense/kernel         head io
    query/kernel                hidden iboo
    key/kernel                  hidden iboo
    value/kernel                hidden iboo
    out/kernel                  hidden ibio
    gate/kernel                 router ibo
    shared_expert_gate/kernel   router ibo
    conv1d/kernel               vector
    wi_0                        hidden bbio
    wi_1                        hidden bbio
    wo                          hidden bbio
    A_log                       vector
    dt_bias                     vector
    *_bias                      vector
    kernel                      hidden ibo
    kernel                      hidden io
    bias                        vector
    sinks                       vector
    scale                       vector
"""
SMALL = {
    "base_emb_dim": 32, "base_num_query_heads": 4, "base_num_kv_heads": 2, "head_dim": 8, "base_mlp_dim": 64,
    "base_num_decoder_layers": 3, "vocab_size": 101,
}  # fmt: skip
MIXED = {"base_moe_mlp_dim": 64, "num_experts": 4, "num_experts_per_tok": 2}
LATENT = """
    wq_a/kernel     hidden ibo
    wq_b/kernel     hidden iboo
    wkv_a/kernel    hidden ibo/16,8?
    wkv_b/kernel    hidden iboo
    """
# Name of the published configuration, file, truths of its own, sizes.
MODELS = {
    "llama2": ("llama2-7b", "llama2", "", {}),
    "gemma2": ("gemma2-2b", "gemma2", "", {"sliding_window_size": 8}),
    "mixtral": ("mixtral-8x7b", "mixtral", "", MIXED),
    "deepseek": ("deepseek3-tiny", "deepseek", LATENT, MIXED | {
        "base_num_kv_heads": 4, "first_num_dense_layers": 1, "q_lora_rank": 24, "kv_lora_rank": 16,
        "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 10,
    }),
    "gpt_oss": ("gpt-oss-20b", "gpt_oss", "", MIXED | {"base_num_decoder_layers": 4, "sliding_window_size": 8}),
    "qwen3_next": ("qwen3-next-80b-a3b", "qwen3", "", MIXED | {
        "base_num_decoder_layers": 4, "gdn_key_head_dim": 6, "gdn_value_head_dim": 8, "gdn_num_key_heads": 2,
        "gdn_num_value_heads": 4, "gdn_chunk_size": 8,
    }),
}  # fmt: skip


def configured(name, **sizes):
    """A published configuration, but for the sizes that are given, and its mesh."""
    from maxtext.configs import pyconfig
    from maxtext.utils import maxtext_utils

    file = str(SOURCE / "maxtext" / "src" / "maxtext" / "configs" / "base.yml")
    options = {
        "model_name": name, "override_model_config": True, "scan_layers": True, "attention": "dot_product",
        "max_target_length": 16, "per_device_batch_size": 1, "enable_checkpointing": False, "run_name": "small",
        "skip_jax_distributed_system": True, "sparse_matmul": False, "megablox": False, "dtype": "float32",
    }  # fmt: skip
    config = pyconfig.initialize(["", file], **(options | sizes))
    return config, jax.sharding.Mesh(maxtext_utils.create_device_mesh(config), config.mesh_axes)


INPUTS = (ints(2, 16), ints(2, 16)), {"decoder_segment_ids": ints(2, 16), "enable_dropout": False}


def in_linen(name, **sizes):
    """The decoder as Linen's module."""
    from maxtext.models import models

    config, mesh = configured(name, enable_nnx=False, pure_nnx=False, pure_nnx_decoder=False, **sizes)
    return Linen(models.transformer_as_linen(config, mesh=mesh, quant=None), *INPUTS)


def in_nnx(name, **sizes):
    """The decoder as NNX's module, which is MaxText's default."""
    from maxtext.utils import model_creation_utils

    make, _ = model_creation_utils.create_nnx_abstract_model(*configured(name, **sizes))
    return Nnx(make, *INPUTS)


for key, (name, file, truth, sizes) in MODELS.items():
    for kind, build in (("", in_linen), ("_nnx", in_nnx)):
        made = functools.partial(build, name, **(SMALL | sizes))
        definition(f"maxtext/{key}{kind}", WHERE.format(file), truth + COMMON, "")(made)
