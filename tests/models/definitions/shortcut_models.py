"""Shortcut models: https://github.com/kvfrans/shortcut-models, a diffusion transformer in Linen."""

import jax.numpy as jnp

from tests.models.definitions._definition import Linen, definition, ints, old_names, shape


@definition(
    "shortcut_models/dit",
    "model.py",
    """
    PatchEmbed_0/Conv_0/kernel         input iiio
    TimestepEmbedder_?/Dense_0/kernel  input io
    Embed_0/embedding                  embedding|vector io
    DiTBlock_?/Dense_0/kernel          hidden io/6?
    FinalLayer_0/Dense_0/kernel        hidden io/2?
    FinalLayer_0/Dense_1/kernel        head io
    """,
)
def dit():
    old_names()
    import model

    made = model.DiT(4, 32, 2, 4, 2.0, 3, 0.1, 10, dtype=jnp.float32)
    return Linen(made, (shape(2, 16, 16, 3), shape(2), shape(2), ints(2)))
