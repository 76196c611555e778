"""Centring."""

import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om


def test_center_is_a_projection_and_refuses_integers():
    center = om.linalg.Center("output")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)
    once = center.apply(x, ())[0]
    np.testing.assert_allclose(center.apply(once, ())[0], once, atol=1e-6)
    np.testing.assert_allclose(jnp.mean(once, axis=1), 0, atol=1e-6)
    assert center.apply(jnp.zeros((0, 3)), ())[0].shape == (0, 3)
    with pytest.raises(TypeError, match="int32"):
        center.apply(jnp.ones((2, 3), jnp.int32), ())
