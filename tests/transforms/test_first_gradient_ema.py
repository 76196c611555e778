"""The average that starts at the first gradient."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om


def only(x):
    return {"up": {"kernel": jnp.asarray(x, jnp.float32)}}


def test_average_starts_at_the_first_gradient_and_takes_schedules():
    tx = om.transforms.first_gradient_ema(0.9)
    grads = [only(np.full((1, 1), v)) for v in (2.0, 4.0)]
    first, state = tx.update(grads[0], tx.init(grads[0]))
    second, _ = tx.update(grads[1], state)
    assert first["up"]["kernel"][0, 0] == 2.0
    assert second["up"]["kernel"][0, 0] == pytest.approx(2.2)
    with pytest.raises(ValueError, match="decay"):
        om.transforms.first_gradient_ema(1.0)


def test_equals_the_average_from_zero_where_only_directions_count_and_all_gradients_agree():
    grads = only(np.full((2, 2), 3.0))
    tx = om.transforms.first_gradient_ema(0.9)
    out, state = tx.update(grads, tx.init(grads))
    out, state = tx.update(grads, state)
    np.testing.assert_allclose(out["up"]["kernel"], 3.0, rtol=1e-6)


def test_low_precision_state_keeps_its_dtype_and_the_weights_of_the_average():
    grads = [{"x": jnp.full(4, v, jnp.bfloat16)} for v in (1.0, 2.0)]
    tx = om.transforms.first_gradient_ema(0.99, accumulator_dtype=jnp.float32)
    state = tx.init(grads[0])
    _, state = tx.update(grads[0], state)
    out, state = tx.update(grads[1], state)
    assert state.average["x"].dtype == jnp.float32
    assert out["x"].dtype == jnp.float32
    np.testing.assert_allclose(state.average["x"], 1.01, rtol=1e-6)


def test_divides_by_the_gradients_and_not_by_what_arrives():
    tx = om.transforms.divide_by_gradient_rms(0.5, eps=0.0)
    state = tx.init({"x": jnp.zeros(2)})
    first = {"x": jnp.array([3.0, -4.0])}
    out, state = tx.update({"x": jnp.ones(2)}, state, gradients=first)
    np.testing.assert_allclose(out["x"], [1 / 3, 1 / 4])
    out, state = tx.update({"x": jnp.ones(2)}, state, gradients={"x": jnp.array([1.0, 0.0])})
    np.testing.assert_allclose(out["x"], [1 / np.sqrt(5), 1 / np.sqrt(8)], rtol=1e-6)
    out, _ = tx.update(first, tx.init(first))
    np.testing.assert_allclose(out["x"], optax.scale_by_sign().update(first, ())[0]["x"])
