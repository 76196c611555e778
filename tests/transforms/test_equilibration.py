"""Evening out outputs, inputs, or both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.transforms import equilibrate

LEAVES = {"w": om.Leaf("hidden", 0, 1)}


def once(side, x, leaf=LEAVES["w"], **options):
    tx = equilibrate(side, leaves={"w": leaf}, **options)
    return jax.jit(tx.update)({"w": x}, tx.init({"w": x}))[0]["w"]


def matrix(shape=(4, 6), seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def test_output_vectors_come_out_at_unit_length():
    x = matrix()
    np.testing.assert_allclose(jnp.linalg.norm(once("output", x), axis=0), 1, rtol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(once("reduction", x), axis=1), 1, rtol=1e-6)


def test_both_takes_both_lengths_from_the_same_matrix():
    x = np.asarray(matrix(), np.float64)
    expected = x / np.linalg.norm(x, axis=0, keepdims=True) / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(once("both", matrix()), expected, rtol=1e-5)


def test_a_scale_of_each_output_makes_no_difference():
    x, scale = matrix(), jnp.array([[1e-20, 1.0, 3.0, 1e15, 7.0, 0.1]])
    np.testing.assert_allclose(once("output", x * scale), once("output", x), rtol=1e-5)
    np.testing.assert_allclose(once("reduction", x.T * scale.T), once("reduction", x.T), rtol=1e-5)


def test_eps_and_power_by_hand():
    x = jnp.array([[3.0], [4.0]])
    np.testing.assert_allclose(once("output", x, eps=11.0), x / 6, rtol=1e-6)
    np.testing.assert_allclose(once("output", x, power=0.25), x / np.sqrt(5), rtol=1e-6)


def test_hostile_input():
    x = matrix()
    np.testing.assert_allclose(once("both", 1e30 * x), once("both", x) * 1e-30, rtol=1e-5)
    np.testing.assert_allclose(once("output", 1e-30 * x), once("output", x), rtol=1e-5)
    assert (once("both", jnp.zeros((3, 2))) == 0).all()
    assert once("output", x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert once("output", jnp.zeros((0, 2))).shape == (0, 2)
    stack = jnp.ones((2, 3, 2)).at[0, 0, 0].set(jnp.nan)
    y = once("both", stack, om.Leaf("hidden", 1, 2))
    assert jnp.isnan(y[0]).any()
    assert jnp.isfinite(y[1]).all()


def test_refusals():
    with pytest.raises(ValueError, match="side"):
        equilibrate("rows")
    with pytest.raises(ValueError, match="eps"):
        equilibrate("output", eps=-1.0)
    with pytest.raises(ValueError, match="for_matrices"):
        equilibrate("output").init({"norm": {"scale": jnp.ones(3)}})
