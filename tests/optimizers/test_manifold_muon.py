"""Manifold Muon against its reference, weights that stay orthonormal, and the closed form of square ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.manifold_muon import manifold_muon as reference

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "tall", "uneven", "heads")}


def test_reference_in_x64():
    options = {"learning_rate": 0.1, "momentum": 0.5, "dual_steps": 4, "dual_rate": 0.3}
    with jax.enable_x64(True):
        tx = om.manifold_muon(orthogonalizer=SVD, projection=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, **options), cases=FEW)


def test_weights_stay_orthonormal_with_the_default_maps():
    tx = om.manifold_muon(0.3, dual_steps=2)
    params = {name: {"kernel": jnp.eye(*shape)} for name, shape in (("tall", (12, 6)), ("wide", (6, 12)))}

    @jax.jit
    def step(params, state, seed):
        grads = optax.tree.random_like(jax.random.key(seed), params, sampler=jax.random.normal)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    state = tx.init(params)
    for seed in range(5):
        params, state = step(params, state, seed)
    tall, wide = (np.asarray(params[name]["kernel"], np.float64) for name in ("tall", "wide"))
    np.testing.assert_allclose(tall.T @ tall, np.eye(6), atol=1e-5)
    np.testing.assert_allclose(wide @ wide.T, np.eye(6), atol=1e-5)
    assert np.abs(tall - np.eye(12, 6)).max() > 0.1


@jax.disable_jit()
def test_a_square_matrix_turns_by_the_skew_part_alone():
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.normal(size=(6, 6)))[0].astype(np.float32)
    g = rng.normal(size=(6, 6)).astype(np.float32)
    tx = om.manifold_muon(0.3, dual_steps=1, orthogonalizer=SVD, projection=SVD)
    updates, _ = tx.update({"w": jnp.asarray(g)}, tx.init({"w": w}), {"w": jnp.asarray(w)})
    u, _, vh = np.linalg.svd((w.T @ g - g.T @ w) / 2)
    u2, _, vh2 = np.linalg.svd(w - 0.3 * w @ (u @ vh))
    np.testing.assert_allclose(w + updates["w"], u2 @ vh2, atol=1e-5)


def test_without_parameters_and_with_wrong_numbers_it_raises():
    tx = om.manifold_muon(0.1)
    grads = {"w": jnp.ones((4, 6))}
    with pytest.raises(ValueError, match="apply_with_weights needs the parameters"):
        tx.update(grads, tx.init(grads))
    with pytest.raises(ValueError, match="manifold_muon: momentum"):
        om.manifold_muon(0.1, momentum=1.0)
