"""The running RMS of every neuron."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.transforms import normalize_neurons


def run(xs, decay, leaf=None):
    tx = normalize_neurons(decay, leaves={"w": leaf or om.Leaf("hidden", 0, 1)})
    state = tx.init({"w": xs[0]})
    for x in xs:
        y, state = jax.jit(tx.update)({"w": x}, state)
    return y["w"], state


def test_without_memory_all_outputs_are_equally_long_and_the_norm_is_kept():
    x = jax.random.normal(jax.random.key(0), (4, 6))
    y, _ = run([x], 0.0)
    lengths = jnp.linalg.norm(y, axis=0)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(y), jnp.linalg.norm(x), rtol=1e-6)


def test_first_step_does_not_depend_on_the_decay():
    x = jax.random.normal(jax.random.key(0), (4, 6))
    np.testing.assert_allclose(run([x], 0.9)[0], run([x], 0.0)[0], rtol=1e-5)


def test_memory_is_an_average_of_mean_squares():
    x = jnp.ones((4, 2)) * jnp.array([[1.0, 2.0]])
    _, state = run([x, 2 * x], 0.5)
    # means 1, 4 and then 4, 16; from zero: 0.5 and 2, then 0.25 + 2 and 1 + 8
    np.testing.assert_allclose(state.mean_square["w"], [[2.25, 9.0]])
    assert state.mean_square["w"].dtype == jnp.float32


def test_one_memory_per_output_of_every_matrix():
    stacked, cut = om.Leaf("hidden", 1, 2), om.Leaf("hidden", 0, 1, om.Split((1, 2), "reduction"))
    assert run([jnp.ones((2, 3, 5))], 0.5, stacked)[1].mean_square["w"].shape == (2, 1, 5)
    assert run([jnp.ones((3, 5))], 0.5, cut)[1].mean_square["w"].shape == (3, 5)


def test_along_the_inputs_it_is_the_transposed_matrix_along_its_outputs():
    xs = jax.random.normal(jax.random.key(0), (3, 4, 6))
    tx = normalize_neurons(0.9, side="reduction", leaves={"w": om.Leaf("hidden", 0, 1)})
    state = tx.init({"w": xs[0]})
    for x in xs:
        y, state = tx.update({"w": x}, state)
    turned, memory = run([x.T for x in xs], 0.9)
    np.testing.assert_allclose(y["w"].T, turned, rtol=1e-6)
    np.testing.assert_allclose(state.mean_square["w"].T, memory.mean_square["w"], rtol=1e-6)


def test_zero_and_refusals():
    assert (run([jnp.zeros((3, 2))] * 2, 0.9)[0] == 0).all()
    assert normalize_neurons(0.9).update({}, normalize_neurons(0.9).init({}))[0] == {}
    for options in ({"decay": 1.0}, {"decay": 0.9, "eps": 0.0}, {"decay": 0.9, "side": "both"}):
        with pytest.raises(ValueError, match="normalize_neurons"):
            normalize_neurons(**options)
