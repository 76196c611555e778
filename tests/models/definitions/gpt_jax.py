"""gpt-jax: https://github.com/jenkspt/gpt-jax, GPT-2 in Linen."""

from tests.models.definitions._definition import Linen, definition, ints


@definition("gpt_jax/gpt", "model.py", "c_attn/kernel hidden io/3")
def gpt():
    import flax.linen as nn
    import model

    class GPT(model.GPT):
        """The model with the init of every Linen module, which the class replaces."""

        init = nn.Module.init

    return Linen(GPT(model.GPTConfig(16, 101, 2, 4, 32, 0.0, dtype="float32")), (ints(2, 8), True))
