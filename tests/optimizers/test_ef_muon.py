"""EF-Muon against its reference, and where Muon stalls."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.ef_muon import ef_muon as reference
from tests.state import floats_per_parameter

POLAR = om.linalg.SVDPolar()


def test_matches_its_reference():
    options = {"learning_rate": 0.1, "momentum": 0.9}
    with jax.enable_x64(True):
        tx = om.ef_muon(orthogonalizer=POLAR, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, **options))


def counterexample(tx, steps=1500, beta=0.9):
    """f(W) = c |W11 + W22| + |W11 - W22| from the start at which Muon's momentum never leaves (1, -1)."""
    c = (1 - beta) / (2 * (1 + beta))

    def f(w):
        return c * jnp.abs(w[0, 0] + w[1, 1]) + jnp.abs(w[0, 0] - w[1, 1])

    def step(carry, _):
        w, state = carry
        plus, minus = c * jnp.sign(w[0, 0] + w[1, 1]), jnp.sign(w[0, 0] - w[1, 1])
        updates, state = tx.update({"w": jnp.diag(jnp.stack([plus + minus, plus - minus]))}, state, {"w": w})
        return (w + updates["w"], state), None

    w = jnp.diag(jnp.array([1 + np.log(2), 1 - np.log(2)]))
    (w, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, None, steps))((w, tx.init({"w": w})))
    return f(w), jnp.trace(w)


def test_converges_where_muon_stalls():
    leaves = {"w": om.Leaf("hidden", 0, 1)}
    with jax.enable_x64(True):
        muon = om.muon(
            lambda t: 1 / (t + 1), momentum=0.9, nesterov=False, orthogonalizer=POLAR,
            shape_scale=om.shapes.Constant(1.0), leaves=leaves,
        )  # fmt: skip
        value, trace = counterexample(muon)
        assert abs(value - 0.053298) < 1e-6
        assert abs(trace - 2) < 1e-9, "Muon never moves along the identity"
        ef = om.ef_muon(lambda t: (t + 1) ** -0.5, momentum=0.9, orthogonalizer=POLAR, leaves=leaves)
        value, _ = counterexample(ef)
        assert abs(value - 0.00390) < 1e-5


def test_single_entries_do_momentum_descent():
    weights = {"w": jnp.ones((1, 1))}
    leaves = {"w": om.Leaf("hidden", 0, 1)}
    grads = [{"w": jnp.full((1, 1), g)} for g in (1.0, -3.0, 0.5)]
    plain = optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1))
    ours = harness.run(om.ef_muon(0.1, momentum=0.9, leaves=leaves), weights, grads)
    np.testing.assert_allclose(ours["w"], harness.run(plain, weights, grads)["w"], rtol=1e-6)


def test_state_and_options():
    assert floats_per_parameter(om.ef_muon(0.1), {"up": {"kernel": jnp.zeros((4, 6))}}) == 2
    with pytest.raises(ValueError, match="momentum"):
        om.ef_muon(0.1, momentum=1.0)
