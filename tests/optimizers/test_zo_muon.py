"""Rules for estimated gradients beside their references."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import optax_muon as om
from tests.references import harness
from tests.references.zeroth_order import adanaged, zo_muon

RATE = {"learning_rate": 0.1, "weight_decay": 0.05}
SVD = om.linalg.SVDPolar()


def test_zo_muon():
    with jax.enable_x64(True):
        tx = om.zo_muon(orthogonalizer=SVD, leaves=harness.LEAVES, **RATE)
        harness.assert_matches(tx, functools.partial(zo_muon, **RATE))


def test_adanaged_on_two_matrices_at_once():
    """By `parameter_free`, on a convex quadratic: the length grows and falls; a loss of another size walks alike."""
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for shape in ((4, 6), (5, 3))]
    sizes = [rng.uniform(0.2, 3.0, size=w.shape) for w in start]
    with jax.enable_x64(True):
        tx = om.adanaged(1.0, orthogonalizer=SVD, first_step=1e-3)
        curvature = {f"layer{i}": {"kernel": s.T} for i, s in enumerate(sizes)}

        @jax.jit
        def walk(weights, scale):
            params = {f"layer{i}": {"kernel": w.T} for i, w in enumerate(weights)}
            state, seen = tx.init(params), []
            for _ in range(12):
                grads = jax.tree.map(lambda w, s: scale * s * w, params, curvature)
                seen.append([g["kernel"].T for g in grads.values()])
                updates, state = tx.update(grads, state, params)
                params = jax.tree.map(jnp.add, params, updates)
            return [p["kernel"].T for p in params.values()], seen

        got, seen = walk(start, 1.0)
        want = adanaged(start, jax.tree.map(np.asarray, seen), first_step=1e-3)
        scaled, _ = walk(start, 1e6)
        for a, b, c, w in zip(got, want, scaled, start, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-10)
            np.testing.assert_allclose(c, b, atol=1e-8)
            assert np.linalg.norm(a) < 0.5 * np.linalg.norm(w)
