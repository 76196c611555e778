"""Weights that keep their norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.transforms import keep_norm

STACKED = {"w": om.Leaf("hidden", 1, 2)}


def after(u, w, leaves=STACKED, **options):
    tx = keep_norm(leaves=leaves, **options)
    return w + tx.update({"w": u}, tx.init({"w": w}), {"w": w})[0]["w"]


def norms(x):
    return jnp.linalg.norm(x.reshape(len(x), -1), axis=1)


def arrays():
    u, w = jax.random.normal(jax.random.key(0), (2, 3, 4, 6))
    return u * jnp.array([1.0, 1e-4, 10.0])[:, None, None], w


def test_every_matrix_keeps_its_norm_along_the_new_direction():
    u, w = arrays()
    found = after(u, w)
    np.testing.assert_allclose(norms(found), norms(w), rtol=1e-5)
    np.testing.assert_allclose(found / norms(w)[:, None, None], (w + u) / norms(w + u)[:, None, None], atol=1e-6)


def test_shares_of_growth_and_of_shrinking():
    u, w = arrays()
    np.testing.assert_allclose(after(u, w, outward=1.0, inward=1.0), w + u, atol=1e-4)
    np.testing.assert_allclose(norms(after(w, w, outward=0.5, inward=1.0)), 1.5 * norms(w), rtol=1e-5)
    np.testing.assert_allclose(norms(after(-0.5 * w, w, outward=0.5, inward=1.0)), 0.5 * norms(w), rtol=1e-5)
    np.testing.assert_allclose(norms(after(-0.5 * w, w, outward=1.0)), norms(w), rtol=1e-5)


def test_a_radius_is_a_factor_of_the_shape():
    u, w = arrays()
    np.testing.assert_allclose(norms(after(u, w, radius=om.shapes.RMSMatch(0.2))), 0.2 * np.sqrt(6), rtol=1e-5)
    cut = {"w": om.Leaf("hidden", 0, 1, (5, 1))}
    found = after(u[0], w[0], cut, radius=om.shapes.RMSMatch(0.2))
    np.testing.assert_allclose(
        [jnp.linalg.norm(found[:, :5]), jnp.linalg.norm(found[:, 5:])], 0.2 * np.sqrt([5, 4]), rtol=1e-5
    )


def test_zeros_and_a_nan_stay_where_they_are():
    u, w = arrays()
    u, w = u.at[0].set(-w[0]).at[2, 0, 0].set(jnp.nan), w.at[1].set(0)
    found = jax.jit(after)(u, w)
    np.testing.assert_array_equal(found[0], w[0])
    np.testing.assert_array_equal(found[1], 0)
    assert jnp.isnan(found[2]).any()


def test_refusals():
    with pytest.raises(ValueError, match="outward"):
        keep_norm(-0.1)
    with pytest.raises(ValueError, match="parameters"):
        keep_norm().update({}, keep_norm().init({}))
    with pytest.raises(ValueError, match="for_matrices"):
        keep_norm().init({"norm": {"scale": jnp.ones(3)}})
