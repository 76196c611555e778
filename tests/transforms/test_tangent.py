"""Updates without their part along the weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.transforms import tangent_to_weights

AXES = {"output": 0, "reduction": 1, "both": (0, 1)}


def once(side, x, w, leaf=om.Leaf("hidden", 0, 1)):  # noqa: B008
    tx = tangent_to_weights(side, leaves={"w": leaf})
    return tx.update({"w": x}, tx.init({"w": w}), {"w": w})[0]["w"]


@pytest.mark.parametrize("side", AXES)
def test_what_is_left_is_orthogonal_and_is_the_nearest_such(side):
    x, w = jax.random.normal(jax.random.key(0), (2, 5, 4))
    w = w * jnp.array([[1e-10, 1.0, 1e10, 3.0]]) if side == "output" else w
    y = once(side, x, w)
    unit = w / jnp.linalg.norm(w, axis=AXES[side], keepdims=True)
    np.testing.assert_allclose(jnp.sum(y * unit, axis=AXES[side]), 0, atol=1e-6)
    np.testing.assert_allclose(x - y, jnp.sum(x * unit, axis=AXES[side], keepdims=True) * unit, atol=1e-6)
    np.testing.assert_allclose(once(side, y, w), y, atol=1e-6)


def test_rounding_counts_as_nothing_and_zero_weights_take_nothing():
    x, w = jax.random.normal(jax.random.key(0), (2, 5, 4))
    np.testing.assert_array_equal(once("output", 3.3 * w, w), 0)
    np.testing.assert_array_equal(once("reduction", x[:, :1], w[:, :1]), 0)
    np.testing.assert_array_equal(once("output", x, jnp.zeros_like(w)), x)
    assert jnp.isnan(once("output", x.at[0, 0].set(jnp.nan), w)[:, 0]).all()


def test_pieces_of_a_split_are_matrices_of_their_own():
    x, w = jax.random.normal(jax.random.key(0), (2, 5, 4))
    found = once("both", x, w, om.Leaf("hidden", 0, 1, (3, 1)))
    np.testing.assert_allclose(found[:, :3], once("both", x[:, :3], w[:, :3]), atol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="side"):
        tangent_to_weights("rows")
    with pytest.raises(ValueError, match="parameters"):
        tangent_to_weights("both").update({}, tangent_to_weights("both").init({}))
    with pytest.raises(ValueError, match="for_matrices"):
        tangent_to_weights("both").init({"norm": {"scale": jnp.ones(3)}})
