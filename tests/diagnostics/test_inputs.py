"""Inputs of layers, through NNX and Linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gpt_nnx.model import GPT, GPTConfig

import optax_muon as om
from optax_muon.diagnostics import layer_inputs, stable_rank

X = np.arange(24.0, dtype=np.float32).reshape(4, 2, 3)


@pytest.fixture(autouse=True)
def _flax_adds_biases_as_it_likes():
    with jax.numpy_rank_promotion("allow"):
        yield


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x):
        shared = nn.Dense(3, name="shared")
        x = shared(shared(x))
        return nn.DenseGeneral(5, axis=(0, -1), name="out")(x)


def test_linen_layers_see_all_their_calls_and_axes():
    model = Linen()
    variables = model.init(jax.random.key(0), X)
    seen = layer_inputs(lambda x: model.apply(variables, x), X)
    dense = variables["params"]["shared"]
    once = X @ dense["kernel"] + dense["bias"]
    want = jnp.concatenate([X.reshape(8, 3), once.reshape(8, 3)])
    np.testing.assert_allclose(seen["shared/kernel"], want, rtol=1e-6)
    twice = once @ dense["kernel"] + dense["bias"]
    np.testing.assert_allclose(seen["out/kernel"], jnp.transpose(twice, (1, 0, 2)).reshape(2, 12), rtol=1e-6)


def test_nnx_paths_are_those_of_the_parameters_and_calls_are_left_as_they_were():
    before = nnx.Linear.__call__
    model = GPT(GPTConfig(11, context=6, layers=2, width=8, heads=2), nnx.Rngs(0))
    tokens = jnp.arange(12).reshape(2, 6) % 11
    graph, state = nnx.split(model)

    @jax.jit
    def ranks(state):
        inputs = layer_inputs(nnx.merge(graph, state), tokens)
        return inputs, {path: stable_rank(x) for path, x in inputs.items()}

    inputs, found = ranks(state)
    kernels = [p for p, leaf in om.matrices.by_path(om.leaves(nnx.state(model, nnx.Param))).items() if "kernel" in p]
    assert sorted(found) == sorted(kernels)
    assert inputs["blocks/0/attention/out/kernel"].shape == (12, 8)
    up = model.blocks[0].mlp_norm(model.embed(tokens))  # the first block's attention writes zeros at the start
    np.testing.assert_allclose(inputs["blocks/0/mlp/up/kernel"], up.reshape(12, 8), rtol=1e-5)
    assert nnx.Linear.__call__ is before
    assert layer_inputs(lambda m, x: m(x), model, tokens).keys() == inputs.keys()


def test_calls_are_left_as_they_were_after_an_error():
    before = nnx.Linear.__call__
    with pytest.raises(TypeError):
        layer_inputs(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), jnp.ones((4, 5)))
    assert nnx.Linear.__call__ is before
    with pytest.raises(ValueError, match="called no dense layer"):
        layer_inputs(lambda x: x, X)
