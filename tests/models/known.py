"""The models that were chosen before the readers were changed."""

# Chosen before the readers were changed for what the measurements showed; reported apart.
FROZEN = (
    "bonsai/qwen3",
    "bonsai/unet",
    "bonsai/mamba2",
    "bonsai/whisper",
    "bonsai/umt5",
    "flax/lm1b",
    "flax/gemma",
    "flax/ppo",
    "flax/seq2seq",
    "big_vision/vit_scan",
    "vision_transformer/mixer",
    "nanodo/transformer",
    "tunix/llama3",
    "tunix/qwen3_moe",
    "haiku/transformer",
    "haiku/resnet18",
    "s5/classification",
    "mamba_minimal_jax/mamba",
    "shortcut_models/dit",
    "gpt_jax/gpt",
)
