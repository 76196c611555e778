"""Decay that agrees with the step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from optax_muon.transforms import cautious_decay

W = {"w": jnp.array([[1.0, -2.0, 3.0, -4.0, 5.0]])}


def decayed(tx, x):
    return tx.update({"w": jnp.asarray(x)}, tx.init(W), W)[0]["w"] - jnp.asarray(x)


def test_it_decays_where_signs_agree_and_nowhere_else():
    x = [[0.1, 0.1, 0.0, -1e-30, -7.0]]
    np.testing.assert_allclose(decayed(cautious_decay(0.5), x), [[0.5, 0, 1.5, -2.0, 0]], atol=1e-6)
    np.testing.assert_allclose(decayed(cautious_decay(0.5, strict=True), x), [[0.5, 0, 0, -2.0, 0]], atol=1e-6)


def test_it_is_plain_decay_where_all_agree_and_none_where_none_do():
    plain = optax.add_decayed_weights(0.5)
    for x in (W["w"], jnp.zeros((1, 5))):
        np.testing.assert_array_equal(decayed(cautious_decay(0.5), x), decayed(plain, x))
    np.testing.assert_array_equal(decayed(cautious_decay(0.5), -W["w"]), 0)
    np.testing.assert_array_equal(decayed(cautious_decay(0.0), W["w"]), 0)


def test_a_schedule_goes_by_the_step():
    tx = cautious_decay(lambda count: jnp.where(count == 0, 0.0, 1.0))
    state, found = tx.init(W), []
    for _ in range(2):
        updates, state = tx.update(W, state, W)
        found.append(float(updates["w"][0, 0]))
    assert found == [1.0, 2.0]


def test_small_numbers_and_complex_ones_have_a_sign_too():
    w, x = jnp.full((1, 1), 1e-30), jnp.full((1, 1), -1e-30)
    tx = cautious_decay(1.0)
    assert tx.update({"w": x}, tx.init({"w": w}), {"w": w})[0]["w"] == x
    z = jnp.array([1j, -1j])
    found = tx.update({"z": jnp.array([1j, 1j])}, tx.init({"z": z}), {"z": z})[0]["z"]
    np.testing.assert_array_equal(found, [2j, 1j])


def test_it_needs_the_parameters():
    with pytest.raises(ValueError, match="parameters"):
        cautious_decay(0.1).update(W, optax.EmptyState())
    assert jax.tree.leaves(cautious_decay(0.1).init(W)) == []
