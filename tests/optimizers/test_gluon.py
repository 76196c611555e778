"""Gluon against its reference, and the measured smoothness that its radii come from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
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


def quadratic(params):
    """Gradients of sum over matrices of c/2 |W|^2: Frobenius smoothness c."""
    return {"a": {"kernel": 3.0 * params["a"]["kernel"]}, "a_out": {"kernel": 5.0 * params["a_out"]["kernel"]}}


def test_smoothness_of_a_quadratic_is_its_curvature():
    rng = np.random.default_rng(0)

    def draw():
        return {
            "a": {"kernel": jnp.asarray(rng.normal(size=(3, 4, 6)), jnp.float32)},
            "a_out": {"kernel": jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)},
        }

    leaves = {"a": {"kernel": om.Leaf("hidden", 1, 2)}, "a_out": {"kernel": om.Leaf("hidden", 0, 1)}}
    here, there = draw(), draw()
    there["a"]["kernel"] = there["a"]["kernel"].at[1].set(here["a"]["kernel"][1])
    points = (there, quadratic(there), here, quadratic(here))
    norms = {"a_out*": om.norms.Linear(EXACT), "hidden": om.norms.Frobenius()}
    samples = om.transforms.measure_smoothness(*points, norms=norms, leaves=leaves)
    np.testing.assert_allclose(samples["a/kernel"].estimate, [3, np.nan, 3], rtol=1e-5)
    norm = om.norms.Linear(EXACT)
    moved = there["a_out"]["kernel"] - here["a_out"]["kernel"]
    expected = norm.dual(5 * moved) / norm.value(moved)
    np.testing.assert_allclose(samples["a_out/kernel"].estimate, [expected], rtol=1e-5)
    np.testing.assert_allclose(samples["a_out/kernel"].dual, [norm.dual(5 * there["a_out"]["kernel"])], rtol=1e-5)


def test_fit_finds_constants_and_keeps_them_positive():
    duals = np.linspace(0.1, 4, 30)
    fit = om.norms.fit_smoothness(2 + 0.5 * duals, duals)
    assert (fit.constant, fit.slope) == (pytest.approx(2), pytest.approx(0.5))
    falling = om.norms.fit_smoothness(np.append(5 - duals, np.nan), np.append(duals, 1.0))
    assert falling.slope == 0
    assert falling.constant == pytest.approx(np.mean(5 - duals))
    steep = om.norms.fit_smoothness(3 * duals - 1, duals)
    assert steep.constant == 0
    assert steep.slope > 2
    with pytest.raises(ValueError, match="no positive finite estimate"):
        om.norms.fit_smoothness([np.nan, 0.0], [1.0, 1.0])


def test_average_starts_at_the_first_gradient_and_takes_schedules():
    tx = om.transforms.first_gradient_ema(0.9)
    grads = [only(np.full((1, 1), v)) for v in (2.0, 4.0)]
    first, state = tx.update(grads[0], tx.init(grads[0]))
    second, _ = tx.update(grads[1], state)
    assert first["up"]["kernel"][0, 0] == 2.0
    assert second["up"]["kernel"][0, 0] == pytest.approx(2.2)
    with pytest.raises(ValueError, match="decay"):
        om.transforms.first_gradient_ema(1.0)
