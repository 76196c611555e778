"""NanoDO: https://github.com/google-deepmind/nanodo, a language model in Linen."""

from tests.models.definitions._definition import Linen, definition, ints


@definition(
    "nanodo/transformer",
    "nanodo/model.py",
    """
    query/kernel            hidden ioo
    key/kernel              hidden ioo
    value/kernel            hidden ioo
    attn_out_proj/kernel    hidden iio
    """,
)
def transformer():
    from nanodo import model

    config = model.DoConfig(D=32, H=4, L=16, N=2, V=101, F=64, fsdp_enabled=False)
    return Linen(model.TransformerDo(config), (ints(2, 8),))
