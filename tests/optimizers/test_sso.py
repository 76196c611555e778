"""SSO against its reference, its drift beside MuonSphere's, and weights that stay on the sphere."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.sso import sso as reference

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "tall", "stacked")}  # square ones meet jumps


def test_reference_in_x64():
    options = {"learning_rate": 0.05, "momentum": 0.5, "radius": 1.5}
    with jax.enable_x64(True):
        tx = om.sso(orthogonalizer=SVD, power_steps=None, rounds=36, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, **options), cases=FEW)


def drift(rate, rounds):
    """How far one step leaves the sphere of radius 1, before it is brought back."""
    w = jax.random.normal(jax.random.key(0), (12, 8))
    w = w / jnp.linalg.norm(w, 2)
    op = om.linalg.Constrained(om.linalg.Sphere(None), SVD, steps=rounds)
    d = op.apply(jax.random.normal(jax.random.key(1), w.shape), {}, weights=w)[0]
    return float(jnp.abs(jnp.linalg.norm(w - rate * d, 2) - 1))


@pytest.mark.slow
def test_a_step_leaves_the_sphere_by_the_square_of_the_rate_and_without_rounds_by_the_rate():
    with jax.enable_x64(True), jax.disable_jit():
        assert 50 < drift(1e-2, 30) / drift(1e-3, 30) < 200
        assert 5 < drift(1e-2, 0) / drift(1e-3, 0) < 20
        assert drift(1e-3, 30) < 1e-5 < drift(1e-3, 0)


def test_weights_stay_on_the_sphere_and_no_rounds_are_muon_sphere():
    params = {"w": jax.random.normal(jax.random.key(0), (6, 12))}

    def path(tx):
        @jax.jit
        def step(w, state, seed):
            updates, state = tx.update({"w": jax.random.normal(jax.random.key(seed), (6, 12))}, state, w)
            return optax.apply_updates(w, updates), state

        w, state, found = params, tx.init(params), []
        for seed in range(4):
            w, state = step(w, state, seed)
            found.append(np.asarray(w["w"]))
        return found

    for w in path(om.sso(0.1, radius=3.0, warm_start=True, rounds=6, power_steps=30)):
        # A power iteration measures the norm from below.
        assert -1e-6 < np.linalg.norm(w, 2) / (3.0 * 2**0.5) - 1 < 1e-2
    on = {"shape_scale": om.shapes.Spectral()}
    plain = optax.chain(
        om.transforms.ema(0.9, nesterov=True),
        om.transforms.apply_to_matrices(SVD),
        om.transforms.scale_by_shape(om.shapes.Spectral()),
        optax.scale(-0.1 * 3.0),
        om.transforms.project_weights(om.linalg.OnSphere(3.0), **on),
    )
    ours = om.sso(0.1, radius=3.0, rounds=0, power_steps=None, orthogonalizer=SVD)
    np.testing.assert_allclose(path(ours)[-1], path(plain)[-1], atol=1e-5)


def test_numbers_are_checked():
    for options in ({"momentum": 1.0}, {"radius": 0.0}, {"rounds": -1}, {"power_steps": 0}):
        with pytest.raises(ValueError, match="momentum|radius|steps|power_steps"):
            om.sso(0.1, **options)
