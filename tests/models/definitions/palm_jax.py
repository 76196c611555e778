"""PaLM-jax: https://github.com/lucidrains/PaLM-jax, in Equinox."""

import jax

from tests.models.definitions._definition import Call, definition, ints


@definition(
    "palm_jax/palm",
    "palm_jax/palm.py",
    """
    embedding       embedding io
    gamma           vector
    wi              hidden io/32,8,8,128,128
    attn_wo         hidden io
    ff_wo           hidden io
    """,
    "",
)
def palm():
    from palm_jax import palm

    def make():
        return palm.PaLM(num_tokens=101, dim=32, dim_head=8, depth=2, heads=4, key=jax.random.key(0))

    return Call(lambda model, tokens: jax.vmap(model)(tokens), make, (ints(2, 8),))
