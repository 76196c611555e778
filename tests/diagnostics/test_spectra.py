"""Measures of spectra and of noise against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon import diagnostics as d

MEASURES = [d.nuclear_rank, d.stable_rank, d.spectral_flatness, d.update_rms]
measured = jax.jit(lambda x: [f(x) for f in MEASURES])


def definitions(x):
    s = np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)
    nuclear, frobenius = s.sum(-1), np.sqrt((s**2).sum(-1))
    rms = np.sqrt(np.mean(np.asarray(x, np.float64) ** 2, axis=(-2, -1)))
    return [nuclear**2 / frobenius**2, frobenius**2 / s[..., 0] ** 2, s.mean(-1) / s[..., 0], rms]


@pytest.mark.parametrize("shape", [(3, 5, 8), (3, 8, 5)])
def test_measures_are_their_definitions_at_any_scale(shape, key):
    x = jax.random.normal(key, shape) * jnp.array([1.0, 1e-30, 1e30])[:, None, None]
    for f, found, want in zip(MEASURES, measured(x), definitions(x), strict=True):
        np.testing.assert_allclose(found, want, rtol=2e-5, err_msg=f.__name__)


def test_known_spectra(key):
    q = om.linalg.SVDPolar().apply(jax.random.normal(key, (6, 4)))
    assert list(map(float, measured(q)[:3])) == pytest.approx([4, 4, 1], rel=1e-5)
    one = jnp.asarray(np.outer(np.arange(1.0, 7), np.arange(1.0, 5)), jnp.float32)
    assert list(map(float, measured(one)[:3])) == pytest.approx([1, 1, 1 / 4], rel=1e-5)
    exact = d.nuclear_rank(q @ jnp.diag(jnp.array([1, 0.7, 0.4, 0.2])), om.linalg.SVDPolar())
    assert float(exact) == pytest.approx(2.3**2 / 1.69, rel=1e-5)


def test_zero_empty_and_nan():
    for f in map(jax.jit, MEASURES):
        assert float(f(jnp.zeros((3, 4)))) == 0
        assert f(jnp.zeros((2, 0, 4))).shape == (2,)
        assert np.isnan(f(jnp.full((3, 4), jnp.nan)))
        assert f(jnp.ones((2, 3, 4), jnp.bfloat16)).dtype == jnp.float32
        with pytest.raises(TypeError, match="floating-point"):
            f(jnp.ones((3, 4), jnp.int32))


def test_the_gap_tells_more_than_the_distance_where_a_singular_value_vanishes():
    """The docstring's figures; 0.2346 is what is lost with Y as it is, which a larger rate takes back."""
    op = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024, om.linalg.AtMostOne())
    with jax.enable_x64(True):
        x = jnp.diag(jnp.array([0.5, 0.5e-8]))
        y = op.apply(x)
        assert float(1 - y[1, 1]) == pytest.approx(0.9999975756, abs=1e-9)
        assert float(1 - jnp.sum(x * y) / jnp.sum(jnp.diag(x))) == pytest.approx(0.2346, abs=1e-4)
        assert float(d.lmo_gap(x, op)) == pytest.approx(1e-8, rel=1e-2)


def test_lmo_gap_is_zero_for_the_exact_factor_and_counts_what_a_map_loses(key):
    x = jax.random.normal(key, (2, 6, 9))
    np.testing.assert_allclose(d.lmo_gap(x, om.linalg.SVDPolar()), 0, atol=2e-6)
    soft = om.linalg.SoftSign(2.0)
    gap, y = jax.jit(lambda x: (d.lmo_gap(x, soft), soft.apply(x)))(x)
    y, s = np.asarray(y, np.float64), np.linalg.svd(x, compute_uv=False)
    want = 1 - (np.asarray(x) * y).sum((-2, -1)) / s.sum(-1) / np.linalg.norm(y, 2, axis=(-2, -1))
    np.testing.assert_allclose(gap, want, atol=1e-5)
    assert np.all(want > 0.01)
    assert float(d.lmo_gap(jnp.zeros((3, 3)), om.linalg.SVDPolar())) == 0


def test_largest_stable_step_is_where_an_isotropic_quadratic_stops_falling(key):
    w, curvature = jax.random.normal(key, (5, 7)), 2.5
    grad = curvature * w
    step = d.largest_stable_step(grad, curvature)
    o = om.linalg.SVDPolar().apply(grad)
    inside, outside = (float(jnp.sum((w - factor * step * o) ** 2)) for factor in (0.999, 1.001))
    assert inside < float(jnp.sum(w**2)) < outside


def test_density(key):
    assert float(d.density(jnp.full((4, 5), -2.0))) == pytest.approx(1)
    assert float(d.density(jnp.zeros(9).at[3].set(1e-30))) == pytest.approx(1 / 9)
    assert float(d.density(jax.random.normal(key, (20000,)))) == pytest.approx(2 / np.pi, rel=0.02)
    assert float(d.density(jnp.zeros(3))) == 0
    assert np.isnan(d.density(jnp.array([1.0, jnp.nan])))
    grads = jnp.array([[2.0, 7.0, 9.0], [0.0, 3.0, 9.0]])  # standard deviations 1, 2, 0
    assert float(d.noise_density(grads)) == pytest.approx(9 / 3 / 5)
    with pytest.raises(ValueError, match="two samples at least"):
        d.noise_density(grads[:1])
