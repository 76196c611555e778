"""Gemma: https://github.com/google-deepmind/gemma, in Linen with an Einsum class of its own."""

import types

from tests.models.definitions._definition import Linen, absent, definition, ints

COMMON = """
    scale                 vector
    input_embedding       embedding io
    q_einsum/w            hidden oio
    kv_einsum/w           hidden boio
    qkv_einsum/w          hidden boio
    attn_vec_einsum/w     hidden iio
    linear                hidden io
    """
absent("kauldron", "sentencepiece", "grain", "orbax", "dialog", "hackable_diffusion", "tensorflow")


def transformer(transpose, kv_heads):
    """A small model; what checks shapes is left out, as it asks a library that is not here."""
    import kauldron.ktyping

    kauldron.ktyping.typechecked = lambda f: f
    from gemma.gm.utils import _jax_utils

    _jax_utils.flatten_unflatten_batch_dim = lambda: lambda f: f
    from gemma.gm.nn import _config, _modules, _transformer

    _modules.kd = types.SimpleNamespace(nn=types.SimpleNamespace(Identity=lambda: lambda x: x))
    kinds = (_modules.AttentionType.LOCAL_SLIDING, _modules.AttentionType.GLOBAL)
    config = _config.TransformerConfig(
        101, 32, 64, 4, 8, kv_heads, 30.0, True, True, kinds, sliding_window_size=4, transpose_gating_einsum=transpose,
        use_qk_norm=True,
    )  # fmt: skip
    return Linen(_transformer.Transformer(config=config), (ints(2, 8),))


@definition("gemma/gemma3", "gemma/gm/nn/_transformer.py", "gating_einsum hidden boi\n" + COMMON)
def gemma3():
    return transformer(True, 2)


@definition("gemma/gemma_mha", "gemma/gm/nn/_transformer.py", "gating_einsum hidden bio\n" + COMMON)
def gemma_mha():
    return transformer(False, 4)
