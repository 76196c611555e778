"""What single spectral maps promise beyond the table: published constants, limits, traced numbers, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg
from tests.linalg.spectral.table import POLAR_EXPRESS, SVD

pytestmark = pytest.mark.thinned(2)


def matrix(s, shape=(8, 12), seed=0):
    """A float32 matrix with the singular values ``s``."""
    u, _, vh = np.linalg.svd(np.random.default_rng(seed).normal(size=shape), full_matrices=False)
    return jnp.asarray((u * s) @ vh, jnp.float32)


def sizes(x):
    return np.linalg.svd(np.asarray(x, np.float64), compute_uv=False)


GAUSSIAN = jnp.asarray(np.random.default_rng(3).normal(size=(8, 12)), jnp.float32)


@pytest.mark.parametrize(("promotions", "cutoff"), [(0, 0.8165), (1, 0.5230), (2, 0.2957), (3, 0.1605), (4, 0.0860)])
def test_high_pass_cutoff(promotions, cutoff):
    assert linalg.HighPass(promotions).cutoff == pytest.approx(cutoff, abs=5e-5)
    s = jnp.array([cutoff * 1.02, cutoff * 0.6, 0.0])
    s = s.at[2].set(jnp.sqrt(1 - jnp.sum(s**2)))  # the rest of a unit norm
    kept = linalg.HighPass(promotions, promotions + 14).scalar(s)
    np.testing.assert_allclose(kept[:2], [1, 0], atol=1e-6)


def test_high_pass_without_suppression_is_newton_schulz():
    promoted = linalg.HighPass(12, 12).apply(GAUSSIAN)
    np.testing.assert_allclose(promoted, SVD.apply(GAUSSIAN), atol=1e-4)


def test_kaon_stays_below_one_and_keeps_the_vectors():
    y = np.asarray(linalg.Kaon().apply(GAUSSIAN), np.float64)
    u, _, vh = np.linalg.svd(np.asarray(GAUSSIAN, np.float64), full_matrices=False)
    image = u.T @ y @ vh.T
    np.testing.assert_allclose(image, np.diag(image.diagonal()), atol=1e-4)
    assert (image.diagonal() >= 0).all()
    assert (image.diagonal() <= 4.1 * 16 / (25 * 5**0.5) / 1.175 + 1e-6).all()


def test_freon_between_gradient_and_muon():
    norm = np.linalg.norm(GAUSSIAN)
    np.testing.assert_allclose(linalg.Freon(0.0).apply(GAUSSIAN), 8**0.5 * GAUSSIAN / norm, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(linalg.Freon(0.5).apply(GAUSSIAN), SVD.apply(GAUSSIAN), atol=1e-5)
    np.testing.assert_allclose(linalg.Freon(0.9).apply(3e9 * GAUSSIAN), linalg.Freon(0.9).apply(GAUSSIAN), rtol=2e-4)
    for c in (0.0, 0.3, 0.5, 2 / 3, 1.0, 1.2):
        q, s = 2 - 2 * c, sizes(GAUSSIAN)
        mean = np.mean(s**q) ** (1 / q) if q else np.exp(np.mean(np.log(s)))
        dual = np.sum(np.asarray(GAUSSIAN * linalg.Freon(c).apply(GAUSSIAN), np.float64))
        assert dual == pytest.approx(8 * mean, rel=1e-4)


def test_freon_of_a_deficient_matrix_does_not_vanish_near_the_geometric_mean():
    x = matrix([3.0, 2.0, 1.0, 0, 0, 0, 0, 0])
    for c in (0.5, 0.99, 1.0, 1.01):
        assert 1.5 < np.linalg.norm(linalg.Freon(c).apply(x)) < 2.5  # sqrt(3) at c = 1/2


def test_power_between_muon_and_identity():
    np.testing.assert_allclose(linalg.SpectralPower(0.0).apply(GAUSSIAN), SVD.apply(GAUSSIAN), atol=1e-5)
    np.testing.assert_allclose(linalg.SpectralPower(1.0).apply(GAUSSIAN), GAUSSIAN, atol=1e-5)
    inverse = linalg.SpectralPower(-1.0).apply(GAUSSIAN)
    np.testing.assert_allclose(inverse.T, np.linalg.pinv(np.asarray(GAUSSIAN)), atol=1e-5)
    eighth = linalg.SpectralPower(0.125)
    np.testing.assert_allclose(eighth.apply(5 * GAUSSIAN), 5**0.125 * eighth.apply(GAUSSIAN), atol=1e-4)


@pytest.mark.parametrize("halvings", [1, 2, 3, 4])
def test_roots_reach_every_power_of_one_half(halvings):
    s = np.geomspace(1, 3e-3, 8)
    y = linalg.SpectralPower(0.5**halvings, POLAR_EXPRESS).apply(matrix(s))
    # Measured: 6e-4 at the lower end, where the shift of the iteration starts to bend.
    np.testing.assert_allclose(sizes(y), s**0.5**halvings, rtol=2e-3)


def test_ridge_is_soft_muon():
    m = np.asarray(GAUSSIAN, np.float64)
    w, v = np.linalg.eigh(m.T @ m + np.eye(12) / 0.7**2)
    expected = m @ (v / np.sqrt(w)) @ v.T
    np.testing.assert_allclose(linalg.Ridge(0.7).apply(GAUSSIAN), expected, atol=1e-5)
    np.testing.assert_allclose(linalg.Ridge(0.7, POLAR_EXPRESS).apply(GAUSSIAN), expected, atol=1e-5)
    np.testing.assert_allclose(linalg.SoftSign(1 / 0.7).apply(GAUSSIAN), expected, atol=1e-5)
    np.testing.assert_allclose(linalg.Ridge(float("inf")).apply(GAUSSIAN), SVD.apply(GAUSSIAN), atol=1e-5)
    np.testing.assert_allclose(linalg.Ridge(1e-6).apply(GAUSSIAN), 1e-6 * GAUSSIAN, rtol=1e-4)


def test_soft_sign_at_its_bend_and_without_one():
    assert float(linalg.SoftSign(0.3, 4).scalar(jnp.array([0.3]))[0]) == pytest.approx(2**-0.25, abs=1e-6)
    np.testing.assert_allclose(linalg.SoftSign(0.3, 60).scalar(jnp.array([3.0, 0.15])), [1, 0.5], rtol=1e-6)
    np.testing.assert_array_equal(linalg.SoftSign(0.0).scalar(jnp.array([2.0, 1e-4, 1e-30, 0.0])), [1, 1, 0, 0])
    alone = jnp.array([[1e30], [1e-30]])  # side by side the second would be rounding of the first
    np.testing.assert_allclose(linalg.SoftSign(1e-30, 8).scalar(alone), [[1], [2**-0.125]], rtol=1e-6)


def test_soft_clip_is_spectra():
    x = np.asarray(3 * GAUSSIAN, np.float64)
    w, v = np.linalg.eigh(np.eye(8) + x @ x.T / 4)
    np.testing.assert_allclose(linalg.SoftClip(2.0).apply(3 * GAUSSIAN), (v / np.sqrt(w)) @ v.T @ x, atol=1e-5)
    np.testing.assert_allclose(linalg.SoftClip(float("inf")).apply(GAUSSIAN), GAUSSIAN, atol=1e-5)
    assert sizes(linalg.SoftClip(2.0).apply(1e6 * GAUSSIAN)).max() <= 2 + 1e-5


def test_soft_cap_meets_its_cap_and_is_monotone():
    for largest in (1.0, 1.1, 1.3):
        s = jnp.linspace(0, largest, 400)
        image = np.asarray(linalg.SoftCap(1.0, largest).scalar(s))
        assert image[-1] == pytest.approx(1.0, abs=2e-7)
        assert np.diff(image).min() >= -2e-7
    np.testing.assert_allclose(linalg.SoftCap(1.0, 1.0).scalar(s := jnp.array([1.0, 0.2])), s, atol=1e-7)


def test_polynomial_cap_error_is_the_published_one():
    s = jnp.linspace(0, 6, 4001)
    error = jnp.abs(linalg.PolynomialCap(2.0).scalar(s) - jnp.minimum(s, 2.0)) / 2
    assert float(error.max()) == pytest.approx(0.0339, abs=1e-4)
    assert float(linalg.PolynomialCap(1.0).scalar(jnp.array([3.9]))[0]) < 0  # documented: no guard beyond its interval


def test_hammer_moves_the_top_alone_up_or_down():
    s = np.array([3.0, 2.0, 1.5, 1.0, 0.5, 0.4, 0.3, 0.1])
    for top in (2.5, 5.0):
        np.testing.assert_allclose(sizes(linalg.Hammer(top).apply(matrix(s))), np.r_[top, s[1:]], atol=1e-5)
    np.testing.assert_allclose(linalg.Hammer(1.0).scalar(jnp.array([2.0, 2.0])), [1, 2])  # of equal ones the first


def test_clip_by_sign_far_above_the_cap():
    # The five-step table ripples by 13 %, and a sign multiplies that by half the norm, as the docstring says.
    x = matrix(np.r_[40.0, np.full(7, 0.5)])
    exact = linalg.SpectralClip(1.0).apply(x)
    good = float(jnp.abs(linalg.SpectralClip(1.0, orthogonalizer=POLAR_EXPRESS).apply(x) - exact).max())
    rough = np.linalg.norm(linalg.SpectralClip(1.0, orthogonalizer=linalg.NewtonSchulz()).apply(x) - exact, 2)
    assert good < 1e-4
    assert rough < 0.15 * 40 / 2
    huge = linalg.SpectralClip(1.0, orthogonalizer=POLAR_EXPRESS).apply(1e9 * x)
    assert sizes(huge).max() < 1 + 1e-3
    polar = linalg.SpectralClip(1.0, 0.7, SVD)
    np.testing.assert_allclose(sizes(polar.apply(x)), [1] + [0.7] * 7, atol=2e-5)
    np.testing.assert_array_equal(linalg.SpectralClip(99.0, orthogonalizer=POLAR_EXPRESS).apply(x), x)


TRACED = [
    ("SpectralClip", lambda v, x: linalg.SpectralClip(v).apply(x), 1.3),
    ("SpectralClip by sign", lambda v, x: linalg.SpectralClip(2.0, v, POLAR_EXPRESS).apply(x), 0.7),
    ("Hammer", lambda v, x: linalg.Hammer(v).apply(x), 1.3),
    ("SoftCap", lambda v, x: linalg.SoftCap(v, 7.0).apply(x), 6.5),
    ("PolynomialCap", lambda v, x: linalg.PolynomialCap(v).apply(x), 3.0),
    ("SpectralPower", lambda v, x: linalg.SpectralPower(v).apply(x), 0.3),
    ("Freon", lambda v, x: linalg.Freon(v).apply(x), 0.7),
    ("Ridge", lambda v, x: linalg.Ridge(v).apply(x), 2.0),
    ("SoftSign", lambda v, x: linalg.SoftSign(v, orthogonalizer=POLAR_EXPRESS).apply(x), 0.5),
    ("SoftClip", lambda v, x: linalg.SoftClip(v).apply(x), 1.3),
]


@pytest.mark.parametrize(("apply", "value"), [row[1:] for row in TRACED], ids=[row[0] for row in TRACED])
def test_traced_numbers_give_the_same_and_keep_the_dtype(apply, value):
    y = jax.jit(apply)(jnp.float32(value), GAUSSIAN)
    np.testing.assert_allclose(y, apply(value, GAUSSIAN), atol=2e-5)
    assert jax.eval_shape(apply, jnp.float32(value), GAUSSIAN.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def polar_express(arithmetic):
    return linalg.NewtonSchulz(POLAR_EXPRESS.coefficients, arithmetic=arithmetic)


LOW = [
    # Spectral norm of the error that bfloat16 storage leaves, measured on an (8, 12) normal matrix of norm 5.7.
    ("high pass", lambda a: linalg.HighPass(2, arithmetic=a), 0.009),
    ("soft cap", lambda a: linalg.SoftCap(6.0, 7.0, a), 0.020),
    ("polynomial cap", lambda a: linalg.PolynomialCap(2.5, arithmetic=a), 0.019),
    ("clip by sign", lambda a: linalg.SpectralClip(2.0, 0, polar_express(a)), 0.031),
    ("ridge", lambda a: linalg.Ridge(1.0, polar_express(a)), 0.012),
]


@pytest.mark.parametrize(("make", "measured"), [row[1:] for row in LOW], ids=[row[0] for row in LOW])
def test_bfloat16_storage_costs_what_was_measured(make, measured):
    error = np.linalg.norm(make(linalg.BFLOAT16).apply(GAUSSIAN) - make(linalg.FLOAT32).apply(GAUSSIAN), 2)
    assert measured / 2 < error < 1.5 * measured


BAD = [
    (lambda: linalg.SpectralClip(0.0), "maximum"),
    (lambda: linalg.SpectralClip(float("nan")), "maximum"),
    (lambda: linalg.SpectralClip(1.0, -0.1), "minimum"),
    (lambda: linalg.SpectralClip(1.0, 2.0), "minimum"),
    (lambda: linalg.Hammer(-1.0), "maximum"),
    (lambda: linalg.PowerHammer(0), "maximum"),
    (lambda: linalg.PowerHammer(1.0, 0), "iterations"),
    (lambda: linalg.PolynomialCap(0.0), "maximum"),
    (lambda: linalg.SoftCap(0.0, 1.0), "maximum"),
    (lambda: linalg.SoftCap(1.0, 0.9), "largest"),
    (lambda: linalg.SoftCap(1.0, 1.4), "largest"),
    (lambda: linalg.SpectralPower(float("inf")), "power"),
    (lambda: linalg.SpectralPower(float("nan")), "power"),
    (lambda: linalg.SpectralPower(0.3, SVD), "power"),
    (lambda: linalg.SpectralPower(2.0, SVD), "power"),
    (lambda: linalg.SpectralPower(0.0, SVD), "power"),
    (lambda: linalg.Freon(float("inf")), "c must"),
    (lambda: linalg.Ridge(0.0), "tau"),
    (lambda: linalg.Ridge(-2.0), "tau"),
    (lambda: linalg.SoftSign(-1.0), "eps"),
    (lambda: linalg.SoftSign(float("inf")), "eps"),
    (lambda: linalg.SoftSign(1.0, 0.0), "kappa"),
    (lambda: linalg.SoftSign(1.0, 4.0, SVD), "kappa"),
    (lambda: linalg.SoftClip(0.0), "maximum"),
    (lambda: linalg.SoftClip(1.0, 3.0, SVD), "kappa"),
    (lambda: linalg.HighPass(1, 0), "steps"),
    (lambda: linalg.HighPass(6), "promotions"),
    (lambda: linalg.HighPass(-1), "promotions"),
    (lambda: linalg.Kaon(0), "steps"),
    (lambda: linalg.TopRank(0), "rank"),
    (lambda: linalg.TopRank(9).apply(GAUSSIAN), "rank 9"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "named"), BAD)
def test_bad_options_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
