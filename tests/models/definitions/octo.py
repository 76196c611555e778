"""Octo: https://github.com/octo-models/octo, a policy of a transformer and a diffusion head in Linen."""

import jax
import jax.numpy as jnp

from tests.models.definitions._definition import ATTENTION, Linen, bare, definition, shape

jax.random.KeyArray = jax.Array  # pyright: ignore[reportAttributeAccessIssue]
bare("octo.model.components")
bare("octo.utils")
WHERE = "octo/model/components/{}.py"


@definition("octo/transformer", WHERE.format("transformer"), ATTENTION)
def transformer():
    from octo.model.components import transformer as module

    model = module.Transformer(2, 64, 4, add_position_embedding=True)
    return Linen(model, (shape(2, 8, 32), shape(2, 4, 8, 8, dtype=jnp.bool_)), {"train": False})


@definition(
    "octo/score_actor",
    WHERE.format("diffusion"),
    """
    time_preprocess/kernel                 input oi
    cond_encoder/Dense_0/kernel            hidden io
    reverse_network/Dense_0/kernel         hidden|input io
    reverse_network/Dense_1/kernel         head io
    """,
)
def score_actor():
    from octo.model.components import diffusion

    model = diffusion.create_diffusion_model(7, 16, 2, None, True, 40)
    return Linen(model, (shape(4, 24), shape(4, 7), shape(4, 1)))


@definition(
    "octo/map_head",
    WHERE.format("transformer"),
    # Called alone, it is the first on its inputs; in a model it is not.
    "probe vector\n key/kernel hidden|input ioo\n value/kernel hidden|input ioo\n" + ATTENTION,
)
def map_head():
    from octo.model.components import transformer as module

    return Linen(module.MAPHead(num_heads=4), (shape(2, 8, 32),))
