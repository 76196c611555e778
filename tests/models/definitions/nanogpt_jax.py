"""nanoGPT-jax: https://github.com/cgarciae/nanoGPT-jax, GPT-2 in Linen."""

from tests.models.definitions._definition import Linen, absent, definition, ints

absent("torch", "transformers")


@definition("nanogpt_jax/gpt", "model.py", "c_attn/kernel hidden io/3")
def gpt():
    import model

    config = model.GPTConfig(16, 96, 2, 4, 32, 0.0)
    return Linen(model.GPT(config), (ints(2, 8),), {"train": False})
