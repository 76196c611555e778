"""Gluon against its reference, and the measured smoothness that its radii come from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness, roles
from tests.references.gluon import gluon as reference
from tests.references.scion import sign, spectral

EXACT = om.linalg.SVDPolar()
STEPS = harness.STEPS


def adaptive(constant, slope):
    return lambda dual: dual / (constant + slope * dual)


@pytest.mark.parametrize(
    ("radii", "radius", "cases"),
    [(0.3, lambda dual: 0.3, roles.FEW), (om.norms.Smoothness(4.0, 0.5), adaptive(4.0, 0.5), harness.CASES)],
    ids=["fixed", "adaptive"],
)
def test_reference_in_x64(radii, radius, cases):
    with jax.enable_x64(True):
        tx = om.gluon(0.2, momentum=0.8, radii=radii, orthogonalizer=EXACT, leaves=roles.leaves(cases))
        lmo = spectral(harness.numpy_map(EXACT))
        expected = functools.partial(reference, lmo=lmo, rates=[0.2] * STEPS, momenta=[0.8] * STEPS, radius=radius)
        harness.assert_matches(tx, expected, cases=cases)


def test_decaying_radii_and_momentum():
    with jax.enable_x64(True):
        tx = om.gluon(**om.gluon_schedules(0.5), leaves=roles.leaves(roles.HEAD))
        rates = [0.5 * (k + 1) ** -0.75 for k in range(STEPS)]
        momenta = [1 - (k + 1) ** -0.5 for k in range(STEPS)]
        expected = functools.partial(reference, lmo=sign, rates=rates, momenta=momenta, radius=lambda dual: 1.0)
        harness.assert_matches(tx, expected, cases=roles.HEAD)


def only(x):
    return {"up": {"kernel": jnp.asarray(x, jnp.float32)}}


def one_step(tx, grads):
    return tx.update(grads, tx.init(grads), grads)[0]["up"]["kernel"]


def test_both_ends_of_the_adaptive_radius():
    grads = only(np.random.default_rng(0).normal(size=(6, 9)))
    norms = {"hidden": om.norms.Spectral(EXACT)}
    polargrad = one_step(om.polargrad(0.1, momentum=0.0, orthogonalizer=EXACT), grads)
    adaptive = one_step(om.gluon(1.0, norms=norms, radii=om.norms.Smoothness(10, 0)), grads)
    np.testing.assert_allclose(adaptive, polargrad, atol=1e-6)
    muon = one_step(om.muon(0.1, momentum=0.0, shape_scale=om.shapes.Constant(1.0), orthogonalizer=EXACT), grads)
    fixed = one_step(om.gluon(1.0, norms=norms, radii=om.norms.Smoothness(0, 10)), grads)
    np.testing.assert_allclose(fixed, muon, atol=1e-6)


def test_a_variance_reduced_estimator_is_the_gradient_where_there_is_no_noise():
    """STORM: M = g + mu (M - g at the previous weights), so that exact gradients leave M the gradient."""
    weights = only(np.random.default_rng(1).normal(size=(4, 5)))
    storm = optax.chain(om.transforms.correct_by_same_batch(0.8 / 0.2), optax.ema(0.8, debias=False))
    norms = {"hidden": om.norms.Spectral(EXACT)}
    walked = []
    for tx in (om.gluon(0.1, norms=norms, estimator=storm), om.gluon(0.1, norms=norms, momentum=0.0)):
        tx = optax.with_extra_args_support(tx)

        def step(carry, _, tx=tx):
            params, before, state = carry
            grads, old = (jax.tree.map(lambda w: 0.5 * w + jnp.arange(5.0), at) for at in (params, before))
            updates, state = tx.update(grads, state, params, grads_at_previous_params=old)
            return (optax.apply_updates(params, updates), params, state), None

        with jax.numpy_rank_promotion("allow"):
            start = (weights, weights, tx.init(weights))
            walked.append(jax.lax.scan(step, start, None, 6)[0][0])
    np.testing.assert_allclose(walked[0]["up"]["kernel"], walked[1]["up"]["kernel"], atol=1e-5)
