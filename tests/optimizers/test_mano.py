"""Mano against its reference, and the turns that it takes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.mano import mano as reference

FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}  # other kinds are the contracts'


def test_reference_in_x64():
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    with jax.enable_x64(True):
        tx = om.mano(leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, **options), cases=FEW)


@jax.disable_jit()
def test_every_turn_has_its_rms_and_is_tangent_to_its_own_vectors():
    w, *gradients = jax.random.normal(jax.random.key(0), (4, 6, 4))
    tx = om.mano(1.0, weight_decay=0.0)
    state = tx.init({"w": w})
    for axis, g in zip((1, 0, 1), gradients, strict=True):  # inputs first: their vectors run along the outputs
        updates, state = tx.update({"w": g}, state, {"w": w})
        u = updates["w"]
        np.testing.assert_allclose(jnp.sqrt(jnp.mean(u**2)), 0.2, rtol=1e-5)
        np.testing.assert_allclose(jnp.sum(u * w, axis=axis), 0, atol=1e-5)
        assert jnp.abs(jnp.sum(u * w, axis=1 - axis)).max() > 1e-2
        w = optax.apply_updates(w, u)


def test_the_transposed_matrix_takes_the_other_turn_first():
    rng = np.random.default_rng(0)
    w, *gradients = rng.normal(size=(5, 4, 7))
    there = reference(w, gradients, learning_rate=0.1)
    back = reference(w.T, [g.T for g in gradients], learning_rate=0.1, first=1)
    np.testing.assert_allclose(there, back.T, atol=1e-12)


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="mano: momentum"):
        om.mano(0.02, momentum=1.0)
