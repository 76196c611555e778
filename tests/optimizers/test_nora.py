"""Nora against its reference, and what its steps leave alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.nora import nora as reference

FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}  # other kinds are the contracts'


def test_reference_in_x64():
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    with jax.enable_x64(True):
        tx = om.nora(leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, **options), cases=FEW)


@jax.disable_jit()
def test_steps_are_unit_and_orthogonal_to_the_weights_whose_squares_grow_by_theirs():
    g, w = jax.random.normal(jax.random.key(0), (2, 6, 4))
    w = w * jnp.array([[1.0, 1e-3, 1e3, 1.0]])
    tx = om.nora(0.1)
    u = tx.update({"w": g}, tx.init({"w": w}), {"w": w})[0]["w"]
    np.testing.assert_allclose(jnp.linalg.norm(u, axis=0), 0.1, rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(u * w, axis=0) / jnp.linalg.norm(w, axis=0), 0, atol=1e-6)
    grown = jnp.linalg.norm(w[:, :2] + u[:, :2], axis=0) ** 2 - jnp.linalg.norm(w[:, :2], axis=0) ** 2
    np.testing.assert_allclose(grown, 0.01, rtol=1e-3)


@jax.disable_jit()
def test_outputs_of_one_input_do_not_move():
    w, g = jax.random.normal(jax.random.key(0), (2, 1, 5))
    tx = om.nora(0.1)
    np.testing.assert_array_equal(tx.update({"w": g}, tx.init({"w": w}), {"w": w})[0]["w"], 0)


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="nora: momentum"):
        om.nora(0.02, momentum=1.0)
