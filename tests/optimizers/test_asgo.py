"""ASGO against its reference, and its limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.asgo import asgo as reference
from tests.state import floats_per_parameter

LEAVES = {"w": om.Leaf("hidden", 0, 1)}


def test_matches_its_reference():
    common = {"learning_rate": 0.1, "momentum": 0.8, "second_moment_decay": 0.7, "weight_decay": 0.1}
    with jax.enable_x64(True):
        tx = om.asgo(leaves=harness.LEAVES, **common)
        harness.assert_matches(tx, functools.partial(reference, **common))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_without_memory_it_is_the_polar_factor(shape):
    with jax.enable_x64(True):
        grads = {"w": jnp.asarray(np.random.default_rng(0).normal(size=shape))}
        tx = om.asgo(1.0, momentum=0.0, second_moment_decay=0.0, leaves=LEAVES)
        updates, _ = tx.update(grads, tx.init(grads), grads)
        polar = om.linalg.SVDPolar().apply(grads["w"])
        np.testing.assert_allclose(updates["w"], -0.2 * np.sqrt(6) * polar, atol=1e-12)


def test_every_update_has_the_given_rms():
    tx = om.asgo(1.0, rms=0.3, refresh_every=3, leaves=harness.LEAVES)
    cases = {name: harness.CASES[name] for name in ("tall", "uneven")}
    _, gradients = harness.problem(np.float32, cases=cases)
    state, update = tx.init(gradients[0]), jax.jit(tx.update)
    for grads in gradients[:4]:
        updates, state = update(grads, state, grads)
        for name, case in cases.items():
            for u in case.matrices(np.asarray(updates[name])):
                np.testing.assert_allclose(np.sqrt(np.mean(u**2)), 0.3, rtol=1e-5)


def test_rank_one_and_zero_gradients_stay_finite():
    tx = om.asgo(1.0, leaves=LEAVES)
    update = jax.jit(tx.update)
    for g in (jnp.outer(jnp.arange(1.0, 7.0), jnp.ones(4)), jnp.zeros((6, 4))):
        state = tx.init({"w": g})
        for _ in range(3):
            updates, state = update({"w": g}, state, {"w": g})
            assert jnp.abs(updates["w"]).max() < 1


def test_state_size_and_options():
    assert floats_per_parameter(om.asgo(0.1), {"up": {"kernel": jnp.zeros((8, 4))}}) == 1 + 2 * 16 / 32
    for options in ({"second_moment_decay": 1.0}, {"rms": 0.0}, {"refresh_every": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.asgo(0.1, **options)
