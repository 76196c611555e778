"""EasyLM: https://github.com/young-geng/EasyLM, Llama in Linen."""

from tests.models.definitions._definition import Linen, absent, definition, ints, old_names

absent("mlxu", "wandb", "gcsfs", "cloudpickle", "torch", "sentencepiece", "datasets", "tux")


@definition(
    "easylm/llama",
    "EasyLM/models/llama/llama_model.py",
    "*norm/kernel vector\n ln_f/kernel vector\n lm_head/kernel head io",
)
def llama():
    import types

    old_names()
    from EasyLM.models.llama import llama_model

    config = types.SimpleNamespace(
        vocab_size=101, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_sequence_length=16, max_position_embeddings=16, rms_norm_eps=1e-6, initializer_range=0.02,
        residue_dropout=0.0, embedding_dropout=0.0,
        attention_dropout=0.0, remat_attention="", remat_mlp="", remat_block="", scan_attention=False, scan_mlp=False,
        scan_query_chunk_size=4, scan_key_chunk_size=4, scan_mlp_chunk_size=4, fcm_min_ratio=0.0, fcm_max_ratio=0.0,
        remat_policy="", tie_word_embeddings=False, rope_theta=1e4,
        num_key_value_heads=4, scan_layers=False,
    )  # fmt: skip
    return Linen(llama_model.FlaxLLaMAForCausalLMModule(config), (ints(2, 8), ints(2, 8), ints(2, 8)))
