"""SignMuon, MuonUSign and MuonSign against their references and their authors' counterexamples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness, sign_muon
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
# no square leaf: a sign flips where an entry of the polar factor is zero but for rounding
FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}


@pytest.mark.parametrize("name", ["sign_muon", "muon_usign", "muon_sign"])
@pytest.mark.parametrize("feedback", [False, True], ids=["plain", "feedback"])
def test_reference_in_x64(name, feedback):
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    with jax.enable_x64(True):
        make, reference = getattr(om, name), getattr(sign_muon, name)
        tx = make(orthogonalizer=SVD, error_feedback=feedback, leaves=harness.LEAVES, **options)
        expected = functools.partial(reference, orth=polar, feedback=feedback, **options)
        harness.assert_matches(tx, expected, cases=harness.CASES if (name, feedback) == ("muon_sign", True) else FEW)


@pytest.mark.parametrize("feedback", [False, True], ids=["plain", "feedback"])
def test_decoupled_decay_in_x64(feedback):
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.5, "decoupled": True}
    with jax.enable_x64(True):
        leaves = {name: case.leaf for name, case in FEW.items()}
        tx = om.sign_muon(orthogonalizer=SVD, error_feedback=feedback, leaves=leaves, **options)
        expected = functools.partial(sign_muon.sign_muon, orth=polar, feedback=feedback, **options)
        harness.assert_matches(tx, expected, cases=FEW)


def test_feedback_decays_the_exact_weights():
    # Without gradients X decays by itself, and W runs after it by its signs.
    weights = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)}
    tx = om.muon_sign(0.1, error_feedback=True, weight_decay=1.0, leaves={"w": om.Leaf("hidden", 0, 1)})
    params, state, update = weights, tx.init(weights), jax.jit(tx.update)
    for _ in range(5):
        updates, state = update(jax.tree.map(jnp.zeros_like, weights), state, params)
        params = jax.tree.map(jnp.add, params, updates)
    np.testing.assert_allclose(state.value["w"], 0.9**5 * weights["w"], rtol=1e-5)


def direction(make, x, **options):
    tx = make(1.0, orthogonalizer=SVD, **options)
    params = {"w": jnp.asarray(x, jnp.float32)}
    return -np.asarray(tx.update(params, tx.init(params), params)[0]["w"], np.float64)


def test_the_sign_of_the_polar_factor_can_ascend():
    o = np.array([[101, 20, 2, -2], [-20, 97, 20, -20], [-2, 20, 2, 101], [-2, 20, -101, -2]]) / 103
    v = np.array([10, 3, -10, 10]) / np.sqrt(309)
    g = 100 * np.outer(o @ v, v) + o
    np.testing.assert_allclose(np.sum(g * direction(om.sign_muon, g)), (532 - 43 * 100) / 103, rtol=1e-5)
    np.testing.assert_allclose(np.sum(g * direction(om.muon, g)), 104, rtol=1e-5)


def test_the_polar_factor_of_signs_can_ascend():
    s = np.array([[-1, -1, 1, 1, 1], [-1, -1, 1, -1, -1], [1, -1, 1, 1, -1], [1, 1, -1, -1, 1], [1, 1, 1, -1, 1]])
    g = np.where((np.arange(5)[:, None] == 3) & (np.arange(5) == 1), 100.0, s)
    np.testing.assert_allclose(np.sum(g * direction(om.muon_usign, g)), -13.8879, atol=1e-3)
    scale = om.shapes.Constant(1.0)
    np.testing.assert_allclose(np.sum(g * direction(om.muon_sign, g, shape_scale=scale)), -76, rtol=1e-5)


def test_every_entry_is_as_large_as_the_learning_rate():
    u = direction(om.sign_muon, np.random.default_rng(0).normal(size=(4, 6)))
    assert (np.abs(u) == 1).all()


def test_a_single_output_gives_signum():
    x = np.random.default_rng(0).normal(size=(6, 1))
    np.testing.assert_array_equal(direction(om.sign_muon, x), np.sign(x))
