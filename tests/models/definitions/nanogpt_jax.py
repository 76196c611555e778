"""nanoGPT-jax: https://github.com/cgarciae/nanoGPT-jax, GPT-2 in Linen."""

from tests.models.definitions._definition import Linen, absent, definition, ints

absent("torch", "transformers")


@definition("nanogpt_jax/gpt", "model.py", "c_attn/kernel hidden io/3")
def gpt():
    import jax
    import jax.numpy as jnp
    import model

    # The file asks an array to split itself, which arrays no longer do.
    jax.core.Tracer.split = lambda self, n, axis: jnp.split(self, n, axis)  # pyright: ignore

    config = model.GPTConfig(16, 101, 2, 4, 32, 0.0)
    return Linen(model.GPT(config), (ints(2, 8),), {"train": False})
