"""MaxText: https://github.com/AI-Hypercomputer/maxtext, decoders of NNX layers in Linen ones, scanned on axis 1."""

import os
import pathlib
import sys

import jax

from tests.models.definitions._definition import Linen, absent, definition, ints

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


def decoder(name, **sizes):
    """A decoder by the name of its published configuration, with small sizes."""
    return published(name, True, **(SMALL | sizes))


def published(name, scan, **sizes):
    """A decoder as it is published, but for the sizes that are given."""
    from maxtext.configs import pyconfig
    from maxtext.models import models
    from maxtext.utils import maxtext_utils

    file = str(SOURCE / "maxtext" / "src" / "maxtext" / "configs" / "base.yml")
    options = {
        "model_name": name, "override_model_config": True, "scan_layers": scan, "attention": "dot_product",
        "max_target_length": 16, "per_device_batch_size": 1, "enable_checkpointing": False, "run_name": "small",
        "skip_jax_distributed_system": True, "enable_nnx": False, "pure_nnx": False, "pure_nnx_decoder": False,
        "sparse_matmul": False, "megablox": False, "dtype": "float32",
    }  # fmt: skip
    config = pyconfig.initialize(["", file], **options, **sizes)
    mesh = jax.sharding.Mesh(maxtext_utils.create_device_mesh(config), config.mesh_axes)
    model = models.transformer_as_linen(config, mesh=mesh, quant=None)
    return Linen(model, (ints(2, 16), ints(2, 16)), {"decoder_segment_ids": ints(2, 16), "enable_dropout": False})


@definition("maxtext/llama2", WHERE.format("llama2"), COMMON, "")
def llama2():
    return decoder("llama2-7b")


@definition("maxtext/gemma2", WHERE.format("gemma2"), COMMON, "")
def gemma2():
    return decoder("gemma2-2b", sliding_window_size=8)


@definition("maxtext/mixtral", WHERE.format("mixtral"), COMMON, "")
def mixtral():
    return decoder("mixtral-8x7b", **MIXED)


@definition(
    "maxtext/deepseek",
    WHERE.format("deepseek"),
    """
    wq_a/kernel     hidden ibo
    wq_b/kernel     hidden iboo
    wkv_a/kernel    hidden ibo/16,8?
    wkv_b/kernel    hidden iboo
    """
    + COMMON,
    "",
)
def deepseek():
    return decoder(
        "deepseek3-tiny", **MIXED, base_num_kv_heads=4, first_num_dense_layers=1, q_lora_rank=24, kv_lora_rank=16,
        qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10,
    )  # fmt: skip


@definition("maxtext/gpt_oss", WHERE.format("gpt_oss"), COMMON, "")
def gpt_oss():
    return decoder("gpt-oss-20b", **MIXED, base_num_decoder_layers=4, sliding_window_size=8)


@definition("maxtext/qwen3_next", WHERE.format("qwen3"), COMMON, "")
def qwen3_next():
    return decoder(
        "qwen3-next-80b-a3b", **MIXED, base_num_decoder_layers=4, gdn_key_head_dim=6, gdn_value_head_dim=8,
        gdn_num_key_heads=2, gdn_num_value_heads=4, gdn_chunk_size=8,
    )  # fmt: skip
