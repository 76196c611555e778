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


def ef_muon_max(weights, gradients, *, rate, momentum):
    """Parshakova et al., arXiv 2605.08980, OUR READING: one multiple for all matrices, in NumPy."""
    average, error = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step in gradients:
        average = [momentum * m + (1 - momentum) * g for m, g in zip(average, step, strict=True)]
        whole = [rate * m + e for m, e in zip(average, error, strict=True)]
        parts = [np.linalg.svd(p, full_matrices=False) for p in whole]
        multiple = sum(s.sum() for _, s, _ in parts) / sum(len(s) for _, s, _ in parts)
        steps = [multiple * u @ vh for u, _, vh in parts]
        error = [p - d for p, d in zip(whole, steps, strict=True)]
        weights = [w - d for w, d in zip(weights, steps, strict=True)]
    return weights


def test_under_one_norm_all_matrices_share_a_length():
    rng = np.random.default_rng(0)
    shapes, options = {"up": (4, 6), "down": (5, 3)}, {"momentum": 0.8}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gradients = [{name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(10)]
    leaves = dict.fromkeys(shapes, om.Leaf("hidden", 0, 1))
    with jax.enable_x64(True):
        tx = om.ef_muon_max(0.1, orthogonalizer=POLAR, leaves=leaves, **options)
        got = harness.run(tx, weights, gradients)
        expected = ef_muon_max(list(weights.values()), [list(g.values()) for g in gradients], rate=0.1, **options)
        for name, want in zip(shapes, expected, strict=True):
            np.testing.assert_allclose(got[name], want, atol=1e-10)
        # Of one matrix it is EF-Muon, whatever its size.
        for size in (1.0, 1e30):
            one = {"up": size * jnp.asarray(gradients[0]["up"], jnp.float32)}
            both = [
                jax.jit(tx.update)(one, tx.init(one))[0]["up"]
                for tx in (make(0.1, orthogonalizer=POLAR, leaves=leaves) for make in (om.ef_muon, om.ef_muon_max))
            ]
            np.testing.assert_allclose(both[1] / size, both[0] / size, rtol=1e-5)
