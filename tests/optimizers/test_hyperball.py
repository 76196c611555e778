"""Hyperball against its reference, around Muon and around anything, and what it keeps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.hyperball import average, hyperball
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}  # other kinds are the contracts'


def test_reference_in_x64():
    with jax.enable_x64(True):
        inner = optax.chain(optax.ema(0.9, debias=False), optax.scale(-7.0))
        tx = om.hyperball(0.1, inner, leaves=harness.LEAVES)
        expected = functools.partial(hyperball, rule=lambda gs: average(gs, 0.9), learning_rate=0.1)
        harness.assert_matches(tx, expected, cases=FEW)


def test_muon_h_s_reference_in_x64():
    with jax.enable_x64(True):
        tx = om.muon_h(0.1, orthogonalizer=SVD, momentum=0.9, leaves=harness.LEAVES)
        rule = lambda gs: polar(average(gs, 0.9, nesterov=True))  # noqa: E731
        harness.assert_matches(tx, functools.partial(hyperball, rule=rule, learning_rate=0.1), cases=FEW)


@jax.disable_jit()
def walk(tx, params, gradients):
    """Parameters after every step."""
    state, path = tx.init(params), []
    for g in gradients:
        updates, state = tx.update(g, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params["w"])
    return path


def problem():
    draws = jax.random.normal(jax.random.key(0), (6, 5, 3))
    return {"w": 3 * draws[0]}, [{"w": g} for g in draws[1:]]


def test_the_inner_rate_cancels_and_muon_h_is_the_wrapper():
    params, gradients = problem()
    muons = [om.muon(rate, orthogonalizer=SVD, weight_decay=0.0) for rate in (0.3, 7.0)]
    paths = [
        walk(tx, params, gradients)
        for tx in (*(om.hyperball(0.1, m) for m in muons), om.muon_h(0.1, orthogonalizer=SVD))
    ]
    for other in paths[1:]:
        np.testing.assert_allclose(paths[0], other, atol=2e-5)


def test_norms_stay_and_steps_are_angles():
    params, gradients = problem()
    path = walk(om.muon_h(0.1, orthogonalizer=SVD), params, gradients)
    radius = jnp.linalg.norm(params["w"])
    for before, after in zip([params["w"], *path], path, strict=False):
        np.testing.assert_allclose(jnp.linalg.norm(after), radius, rtol=1e-5)
        assert jnp.linalg.norm(after - before) <= 0.2 * radius
    # A tangent step turns by the arc tangent of the rate.
    w = jnp.array([[3.0, 0.0]])
    turned = walk(om.hyperball(0.1, optax.sgd(1.0)), {"w": w}, [{"w": jnp.array([[0.0, -2.0]])}])[0]
    np.testing.assert_allclose(jnp.arctan2(turned[0, 1], turned[0, 0]), np.arctan(0.1), rtol=1e-5)


def test_larger_weights_take_the_same_path():
    params, gradients = problem()
    small, large = (walk(om.muon_h(0.1, orthogonalizer=SVD), {"w": c * params["w"]}, gradients) for c in (1.0, 100.0))
    np.testing.assert_allclose(100 * jnp.stack(small), jnp.stack(large), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "make", [lambda: om.hyperball(0.1, optax.sgd(1.0)), lambda: om.muon_h(0.1), lambda: om.muown(0.1)]
)
def test_weights_that_would_never_move_are_named(make):
    tx = om.for_matrices(make(), otherwise=optax.sgd(0.1), leaves=dict.fromkeys(("up", "out"), om.Leaf("hidden", 0, 1)))
    params = {"up": jnp.ones((4, 6)), "out": jnp.zeros((6, 4))}
    with pytest.raises(ValueError, match="out: .* a matrix of zeros would never move: initialise it otherwise"):
        tx.init(params)
    jax.jit(tx.init)(params)  # where values cannot be seen


def test_a_zero_update_and_zero_weights_stay():
    tx = om.hyperball(0.1, optax.sgd(1.0))
    params, gradients = problem()
    zero = jax.tree.map(jnp.zeros_like, params)
    np.testing.assert_allclose(walk(tx, params, [zero])[0], params["w"], rtol=1e-6)
    updates, _ = tx.update(gradients[0], tx.init(params), zero)
    np.testing.assert_array_equal(updates["w"], 0)
