"""mamba-minimal-jax: https://github.com/radarFudan/mamba-minimal-jax, Mamba in Linen."""

from tests.models.definitions._definition import Linen, absent, definition, ints

absent("torch", "transformers")


@definition(
    "mamba_minimal_jax/mamba",
    "model.py",
    """
    A_log             vector
    D                 vector
    weight            vector
    conv1d/kernel     vector
    in_proj/kernel    hidden io/2
    x_proj/kernel     hidden io/2,4,4
    """,
)
def mamba():
    import model

    return Linen(model.Mamba(model.ModelArgs(32, 2, 101, d_state=4)), (ints(2, 8),))
