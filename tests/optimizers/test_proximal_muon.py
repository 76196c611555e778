"""Proximal Muon against its reference, the proximal step that is a clip, and the phases of a constant rate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import optax_muon as om
from tests.references import harness
from tests.references.proximal_muon import mapped
from tests.references.proximal_muon import proximal_muon as reference

FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}


def test_reference_in_x64():
    options = {"learning_rate": 0.3, "momentum": 0.5, "eps": 0.5, "kappa": 4.0, "radius": 2.0}
    with jax.enable_x64(True):
        tx = om.proximal_muon(leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, **options), cases=FEW)


def test_clipping_is_the_proximal_step_of_the_ball_for_every_kappa():
    rng = np.random.default_rng(0)
    y = 2 * rng.normal(size=(4, 3))
    best = mapped(y, lambda s: np.minimum(s, 1))
    for kappa in (2, 4):
        # A convex function of the step's singular values, the same on both sides of zero.
        def cost(z, kappa=kappa):
            return np.sum(np.linalg.svd(z - y, compute_uv=False) ** kappa)

        for size in (0.01, 0.1, 1.0):
            for _ in range(50):
                other = mapped(best + size * rng.normal(size=y.shape), lambda s: np.minimum(s, 1))
                assert cost(other) >= cost(best) - 1e-12


@jax.disable_jit()
def test_a_constant_rate_converges_up_to_twice_the_bend_and_then_goes_back_and_forth():
    def walk(tau, steps):
        """Minimise x^2 / 2 from 1 with eps 1, so that tau is the rate; a 1 x 1 matrix is a number."""
        tx = om.proximal_muon(tau, radius=float("inf"), eps=1.0, kappa=4.0, momentum=0.0)
        w = {"w": jnp.ones((1, 1))}
        for _ in range(steps):
            w = jax.tree.map(jnp.add, w, tx.update(w, tx.init(w), w)[0])
        return float(jnp.abs(w["w"][0, 0]))

    assert walk(0.5, 20) < 1e-4
    np.testing.assert_allclose(walk(1.0, 1), 1 - 0.5**0.25, atol=1e-5)
    np.testing.assert_allclose(walk(3.0, 60), (1.5**4 - 1) ** 0.25, atol=1e-3)
