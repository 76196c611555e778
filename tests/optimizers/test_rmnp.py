"""RMNP against its reference, and where it is Muon."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.rmnp import rmnp as reference


def test_reference_in_x64():
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    with jax.enable_x64(True):
        harness.assert_matches(om.rmnp(leaves=harness.LEAVES, **options), functools.partial(reference, **options))


def first_update(x):
    tx = om.rmnp(1.0, shape_scale=om.shapes.Constant(1.0))
    return -tx.update({"w": x}, tx.init({"w": x}), {"w": x})[0]["w"]


def test_outputs_have_unit_length_whatever_their_scale():
    x = jax.random.normal(jax.random.key(0), (7, 4))
    y = first_update(x)
    np.testing.assert_allclose(jnp.linalg.norm(y, axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(first_update(x * jnp.array([[1e-12, 1.0, 5.0, 1e12]])), y, atol=1e-6)


def test_equals_muon_where_outputs_are_orthogonal():
    rng = np.random.default_rng(0)
    x = jnp.asarray(np.linalg.qr(rng.normal(size=(7, 4)))[0] * np.array([1.0, 0.1, 5.0, 2.0]), jnp.float32)
    np.testing.assert_allclose(first_update(x), om.linalg.SVDPolar().apply(x), atol=1e-5)


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="rmnp: momentum"):
        om.rmnp(0.02, momentum=1.0)
