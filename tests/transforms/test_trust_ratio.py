"""Steps in proportion to each matrix's weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.transforms import scale_by_matrix_trust_ratio

STACKED = {"w": om.Leaf("hidden", 1, 2)}
ROOT = om.shapes.RMSMatch(0.2)


def arrays():
    d = jax.random.normal(jax.random.key(0), (3, 4, 6))
    return d, jax.random.normal(jax.random.key(1), (3, 4, 6)) * jnp.array([1.0, 2.0, 30.0])[:, None, None]


def norms(x):
    return jnp.linalg.norm(x.reshape(len(x), -1), axis=1)


def test_each_matrix_steps_by_its_own_weights():
    d, w = arrays()
    tx = scale_by_matrix_trust_ratio(0.0, 100.0, leaves=STACKED, eps=1e-12)
    y, state = tx.update({"w": d}, tx.init({"w": w}), {"w": w})
    np.testing.assert_allclose(norms(y["w"]), norms(w), rtol=1e-5)
    assert jax.tree.leaves(state) == []


def test_the_ratio_is_clipped():
    d, w = arrays()
    tx = scale_by_matrix_trust_ratio(1.5, 10.0, leaves=STACKED)
    y, _ = tx.update({"w": d}, tx.init({"w": w}), {"w": w})
    assert 1 < norms(w)[1] / norms(d)[1] < 10
    np.testing.assert_allclose(
        norms(y["w"])[np.array([0, 2])], norms(d)[np.array([0, 2])] * jnp.array([1.5, 10.0]), rtol=1e-5
    )


def test_calibration_makes_the_first_ratio_one_and_stays():
    d, w = arrays()
    tx = scale_by_matrix_trust_ratio(0.0, 100.0, calibration=ROOT, leaves=STACKED)
    y, state = tx.update({"w": d}, tx.init({"w": w}), {"w": w})
    np.testing.assert_allclose(y["w"], d, rtol=1e-5)
    y, after = tx.update({"w": d}, state, {"w": 3 * w})
    np.testing.assert_allclose(y["w"], 3 * d, rtol=1e-5)
    np.testing.assert_array_equal(after.calibration["w"], state.calibration["w"])


def test_calibration_falls_back_to_the_factor_of_the_shape():
    d, w = arrays()
    w = w.at[0].set(0)
    tx = scale_by_matrix_trust_ratio(0.0, 100.0, calibration=ROOT, leaves=STACKED)
    _, state = tx.update({"w": d}, tx.init({"w": w}), {"w": w})
    np.testing.assert_allclose(state.calibration["w"][0], 0.2 * np.sqrt(6), rtol=1e-6)
    # a cut into pieces of unlike shapes has unlike factors
    cut = {"w": om.Leaf("hidden", 0, 1, (9, 1))}
    tx = scale_by_matrix_trust_ratio(0.0, 100.0, calibration=ROOT, leaves=cut)
    zero = {"w": jnp.zeros((4, 10))}
    _, state = tx.update(zero, tx.init(zero), zero)
    np.testing.assert_allclose(np.asarray(state.calibration["w"])[0, [0, 8, 9]], 0.2 * np.sqrt([9, 9, 4]), rtol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="minimum"):
        scale_by_matrix_trust_ratio(2.0, 1.0)
    tx = scale_by_matrix_trust_ratio(0.5, 1.5)
    with pytest.raises(ValueError, match="parameters"):
        tx.update({}, tx.init({}))


@pytest.mark.parametrize("calibration", [None, ROOT])
@pytest.mark.parametrize("maximum", [10.0, np.inf])
def test_without_epsilon_a_zero_update_stays_zero(calibration, maximum):
    d, w = arrays()
    d, w = d.at[:2].set(0), w.at[1:].set(0)  # a zero update, both zero, zero weights
    tx = scale_by_matrix_trust_ratio(0.0, maximum, calibration=calibration, eps=0.0, leaves=STACKED)
    state = tx.init({"w": w})
    for _ in range(2):
        y, state = tx.update({"w": d}, state, {"w": w})
        assert jnp.isfinite(y["w"]).all()
        np.testing.assert_array_equal(y["w"][:2], 0)
