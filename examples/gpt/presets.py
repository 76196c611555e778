"""Sizes by name, and what a step of a model costs."""

from typing import Any

from gpt.layers import GPTConfig

# GPT-2's (Radford et al. 2019), with the batch of half a million tokens that its reproductions train with; the
# vocabulary of 50,257 is rounded up to a multiple of 128, the width of a TPU's tile.
GPT2 = {"context": 1024, "batch": 512, "dtype": "bfloat16", "tokens": "bpe", "remat": True}
GPT2_VOCABULARY = 50_304
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {},  # the options' own defaults
    "gpt2-small": {**GPT2, "layers": 12, "width": 768, "heads": 12},
    "gpt2-medium": {**GPT2, "layers": 24, "width": 1024, "heads": 16},
}

# Dense bfloat16 products, FLOP/s of a chip, by jax.Device.device_kind: the makers' data sheets.
PEAK = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
}


def flops_per_token(config: GPTConfig) -> float:
    """Count the model FLOPs of a training step per token: 6 per weight of a product, and attention's.

    As PaLM counts them (arXiv 2204.02311, appendix B): attention in full, not only its causal half, and nothing that
    rematerialisation computes again.
    """
    weights = 12 * config.layers * config.width**2 + config.vocabulary * config.width
    return 6.0 * weights + 12.0 * config.layers * config.width * config.context


def peak_of(device: Any) -> float | None:
    """Give a `jax.Device`'s FLOP/s in bfloat16; None where its kind is not in the table."""
    kind = device.device_kind
    names = [name for name in PEAK if kind == name or (name.startswith("NVIDIA") and kind.startswith(name))]
    return PEAK[names[0]] if names else None
