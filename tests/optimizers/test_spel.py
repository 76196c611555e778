"""Both forms of SPEL against the reference, and where they are other optimizers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.spel import spel as reference

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "tall", "uneven")}


@pytest.mark.parametrize("tangent", [True, False])
def test_reference_in_x64(tangent):
    options = {"learning_rate": 0.1, "momentum": 0.5, "weight_decay": 0.05, "tangent": tangent}
    with jax.enable_x64(True):
        tx = om.spel(orthogonalizer=SVD, projection=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, **options), cases=FEW)


@jax.disable_jit()
def test_on_square_weights_it_is_manifold_muon_and_decay_lengthens_the_step_alone():
    w = jnp.linalg.qr(jax.random.normal(jax.random.key(0), (6, 6)))[0]
    g = jax.random.normal(jax.random.key(1), (6, 6))

    def once(tx):
        return tx.update({"w": g}, tx.init({"w": w}), {"w": w})[0]["w"]

    exact = {"orthogonalizer": SVD, "projection": SVD}
    np.testing.assert_allclose(
        once(om.spel(0.2, momentum=0.0, **exact)), once(om.manifold_muon(0.2, dual_steps=0, **exact)), atol=1e-6
    )
    decayed = once(om.spel(0.2, weight_decay=0.5, **exact))
    np.testing.assert_allclose(decayed, once(om.spel(0.2 / 0.9, **exact)), atol=1e-5)
    moved = np.asarray(optax.apply_updates(w, decayed))
    np.testing.assert_allclose(moved.T @ moved, np.eye(6), atol=1e-5)
