"""Equinox: https://github.com/patrick-kidger/equinox, its own networks."""

import jax

from tests.models.definitions._definition import Call, definition, shape

COMMON = """
    bias      vector
    weight    hidden oi
"""


def partitioned(make, *inputs):
    """A call of an Equinox model in the two lines of the documentation."""
    import equinox as eqx

    params, static = eqx.partition(make(), eqx.is_array)

    def fn(p, *xs):
        return jax.vmap(eqx.combine(p, static))(*xs)

    return Call(fn, lambda: params, inputs)


@definition("equinox/mlp", "equinox/nn/_mlp.py", "layers/0/weight input oi\n layers/2/weight head oi", COMMON)
def mlp():
    import equinox as eqx

    return partitioned(lambda: eqx.nn.MLP(20, 10, 32, 2, key=jax.random.key(0)), shape(2, 20))


@definition(
    "equinox/attention",
    "equinox/nn/_attention.py",
    "output_proj/weight head|hidden oi\n query_proj/weight input|hidden oi\n key_proj/weight input|hidden oi\n"
    "value_proj/weight input|hidden oi",
    COMMON,
)
def attention():
    import equinox as eqx

    return partitioned(lambda: eqx.nn.MultiheadAttention(4, 32, key=jax.random.key(0)), *[shape(2, 8, 32)] * 3)


@definition(
    "equinox/gru_cell",
    "equinox/nn/_rnn.py",
    "weight_ih hidden|input oi/3?\n weight_hh hidden|input|head oi/3?\n bias_n vector",
    COMMON,
)
def gru_cell():
    import equinox as eqx

    return partitioned(lambda: eqx.nn.GRUCell(20, 32, key=jax.random.key(0)), shape(2, 20), shape(2, 32))
