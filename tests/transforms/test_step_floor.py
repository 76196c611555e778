"""Steps that are a share of the weights at least."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.transforms import floor_steps

STACKED = {"w": om.Leaf("hidden", 1, 2)}


def once(x, w, leaves=STACKED, floor=0.35, **options):
    tx = floor_steps(floor, leaves=leaves, **options)
    return tx.update({"w": x}, tx.init({"w": w}), {"w": w})[0]["w"]


def test_short_matrices_are_lengthened_and_long_ones_stay_to_the_bit():
    x, w = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    x = x * jnp.array([1.0, 0.1, 1e-30])[:, None, None]
    y = once(x, w)
    np.testing.assert_array_equal(y[0], x[0])
    for i in (1, 2):
        np.testing.assert_allclose(jnp.linalg.norm(y[i]), 0.35 * jnp.linalg.norm(w[i]), rtol=1e-5)
        direction = x[i] * (1.0, 10.0, 1e30)[i]
        np.testing.assert_allclose(y[i] / jnp.linalg.norm(y[i]), direction / jnp.linalg.norm(direction), atol=1e-6)


def test_outputs_are_measured_by_themselves():
    x, w = jax.random.normal(jax.random.key(0), (2, 4, 5))
    x = x.at[:, 2].mul(1e-3)
    one = {"w": om.Leaf("hidden", 0, 1)}
    y = once(x, w, one, side="output")
    ratio = jnp.linalg.norm(y, axis=0) / jnp.linalg.norm(w, axis=0)
    assert (ratio >= 0.35 * (1 - 1e-5)).all()
    np.testing.assert_allclose(ratio[2], 0.35, rtol=1e-5)
    assert jnp.abs(once(x, w, one)[:, 2]).max() < 0.01, "a matrix as a whole is long enough"


def test_zeros_stay_and_a_nan_is_seen():
    x, w = jax.random.normal(jax.random.key(0), (2, 2, 4, 5))
    y = once(x.at[0].set(0).at[1, 0, 0].set(jnp.nan), w)
    np.testing.assert_array_equal(y[0], 0)
    assert jnp.isnan(y[1]).any()
    np.testing.assert_array_equal(once(x, w, floor=0.0), x)


def test_refusals():
    with pytest.raises(ValueError, match="floor"):
        floor_steps(-1.0)
    with pytest.raises(ValueError, match="side"):
        floor_steps(0.1, side="rows")
    with pytest.raises(ValueError, match="parameters"):
        floor_steps(0.1).update({}, floor_steps(0.1).init({}))
