"""Inputs of layers, through NNX and Linen."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

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


class NNX(nnx.Module):
    def __init__(self, rngs):
        self.blocks = nnx.List([nnx.Linear(3, 3, rngs=rngs) for _ in range(2)])
        self.out = nnx.LinearGeneral((2, 3), 5, axis=(-2, -1), rngs=rngs)

    def __call__(self, x):
        for block in self.blocks:
            x = nnx.relu(block(x))
        return self.out(x)


def test_nnx_paths_are_those_of_the_parameters_and_calls_are_left_as_they_were():
    before = nnx.Linear.__call__
    model = NNX(nnx.Rngs(0))
    graph, state = nnx.split(model)

    @jax.jit
    def ranks(state):
        inputs = layer_inputs(nnx.merge(graph, state), X)
        return inputs, {path: stable_rank(x) for path, x in inputs.items()}

    inputs, found = ranks(state)
    kernels = [path for path in om.matrices.by_path(nnx.as_pure(state)) if path.endswith("kernel")]
    assert sorted(found) == sorted(kernels) == ["blocks/0/kernel", "blocks/1/kernel", "out/kernel"]
    np.testing.assert_array_equal(inputs["blocks/0/kernel"], X.reshape(8, 3))
    hidden = np.maximum(X.reshape(8, 3) @ np.asarray(model.blocks[0].kernel), 0)
    np.testing.assert_allclose(inputs["blocks/1/kernel"], hidden, rtol=1e-5)
    assert inputs["out/kernel"].shape == (4, 6)
    assert nnx.Linear.__call__ is before
    assert layer_inputs(lambda m, x: m(x), model, X).keys() == inputs.keys()


def test_calls_are_left_as_they_were_after_an_error():
    before = nnx.Linear.__call__
    with pytest.raises(TypeError):
        layer_inputs(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), jnp.ones((4, 5)))
    assert nnx.Linear.__call__ is before
    with pytest.raises(ValueError, match="called no dense layer"):
        layer_inputs(lambda x: x, X)
