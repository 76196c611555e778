"""RecurrentGemma: https://github.com/google-deepmind/recurrentgemma, Griffin in Linen."""

from tests.models.definitions._definition import Linen, absent, definition, ints

absent("sentencepiece", "orbax")


@definition(
    "recurrentgemma/griffin",
    "recurrentgemma/jax/griffin.py",
    """
    b                           vector
    a_param                     vector
    input_embedding             embedding io
    conv_1d/w                   vector
    input_gate/w                hidden bio
    a_gate/w                    hidden bio
    ffw_up/w                    hidden bio
    """,
)
def griffin():
    from recurrentgemma import common
    from recurrentgemma import jax as recurrent

    kinds = (common.TemporalBlockType.RECURRENT, common.TemporalBlockType.ATTENTION)
    config = common.GriffinConfig(101, 32, 64, 4, kinds, True, 8, 30.0, None, common.ScanType.ASSOCIATIVE_NATIVE)
    return Linen(recurrent.Griffin(config), (ints(2, 8), ints(2, 8)), {"return_cache": False})
