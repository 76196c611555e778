"""Model truncation, apart from any optimizer."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om


def momo_step(lower_bound, learning_rate=10.0, value=1.0, direction=None):
    direction = direction or optax.identity()
    grads = {"x": jnp.array([3.0, -4.0])}
    params = {"x": jnp.array([1.0, 1.0])}
    tx = om.transforms.momo(optax.identity(), direction, learning_rate, decay=0.9, lower_bound=lower_bound)
    return tx.update(grads, tx.init(params), params, value=value)[0]["x"]


def test_truncation_lands_the_linear_model_on_the_bound():
    # At the first step the model is f + <G, w - W>: the step -10 kept G must bring 1.0 down to -0.5.
    kept = momo_step(-0.5)
    np.testing.assert_allclose(1.0 - 10.0 * jnp.dot(kept, jnp.array([3.0, -4.0])), -0.5, rtol=1e-5)
    np.testing.assert_array_equal(momo_step(-1e6), [3.0, -4.0])
    np.testing.assert_array_equal(momo_step(2.0), [0, 0])
    # Any direction: for a normalised one the denominator is its dual norm, without the caller saying so.
    sign = momo_step(-0.5, direction=optax.scale_by_sign())
    np.testing.assert_allclose(1.0 - 10.0 * jnp.dot(sign, jnp.array([3.0, -4.0])), -0.5, rtol=1e-5)


def test_reports_nan_and_passes_zero():
    assert np.isnan(momo_step(0.0, value=jnp.nan)).all()
    assert momo_step(-0.5, learning_rate=0.0).tolist() == [3.0, -4.0]


def test_asks_for_the_loss():
    with pytest.raises(ValueError, match="needs params and value"):
        momo_step(0.0, value=None)
    assert momo_step(None, value=None).tolist() == [3.0, -4.0]


def test_intercept_averages_the_models():
    tx = om.transforms.momo(optax.identity(), optax.identity(), 1.0, decay=0.75, lower_bound=-100.0)
    params, grads = {"x": jnp.array([1.0, 1.0])}, {"x": jnp.array([3.0, -4.0])}
    state = tx.init(params)
    _, state = tx.update(grads, state, params, value=2.0)
    assert state.intercept == 2.0 + 1.0
    _, state = tx.update(grads, state, params, value=6.0)
    assert state.intercept == 0.75 * 3.0 + 0.25 * 7.0


def test_decay_is_checked():
    with pytest.raises(ValueError, match="decay"):
        om.transforms.momo(optax.identity(), optax.identity(), 1.0, decay=1.0)
