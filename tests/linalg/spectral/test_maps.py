"""Every spectral map does to all singular values what its scalar and its paper say, and nothing to the vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.linalg.spectral.table import ROWS, Row

pytestmark = pytest.mark.thinned(3)

SHAPE = (4, 4, 6)  # one shape wherever it serves: every other costs a compilation a map
FALL = (1.0, 0.9, 0.5, 0.31, 0.0)  # from one singular value to the next; zero ends the spectrum

every_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
few = settings(derandomize=True, deadline=None, max_examples=6)
spectra = st.lists(st.lists(st.sampled_from(FALL), min_size=3, max_size=3), min_size=4, max_size=4)
seeds = st.integers(0, 2**16)


def spectrum(row: Row, falls) -> np.ndarray:
    """Descending singular values from ``row.top`` on."""
    falls = np.minimum(falls, 0.9) if row.gap else np.asarray(falls)
    return row.top * np.cumprod(np.concatenate([np.ones_like(falls[..., :1]), falls], -1), -1)


def matrices(s, seed=0) -> np.ndarray:
    """A stack with the singular values ``s``, one spectrum a matrix or one for all."""
    u, _, vh = np.linalg.svd(np.random.default_rng(seed).normal(size=SHAPE), full_matrices=False)
    return (u * np.expand_dims(s, -2)) @ vh


def ordinary(row: Row) -> np.ndarray:
    """A stack of full rank without equal singular values."""
    return matrices(spectrum(row, (0.9, 0.5, 0.31)))


def reference(row: Row, x) -> tuple[np.ndarray, np.ndarray]:
    """``U scalar(S) V^H`` in float64, and how much an error in x grows in each matrix of it."""
    x = np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64)
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    if row.exact:
        s = np.where(s > 1e-6 * s.max(-1, keepdims=True), s, 0)
    f = row.image(s)
    return (u * f[..., None, :]) @ vh, condition(row, s, f)


def condition(row: Row, s: np.ndarray, f: np.ndarray) -> np.ndarray:
    """The largest divided difference of the odd function s -> f, times the largest singular value.

    By the theorem of Daleckii and Krein these are what a perturbation of x is multiplied by.
    """
    top = s.max(-1)
    step = 1e-6 * np.where(top == 0, 1, top)[..., None]
    moved = row.image(np.stack([s + step * unit for unit in np.eye(s.shape[-1])]))
    slopes = [np.where(s > 0, np.abs(moved - f) / step, 0).max((0, -1))]
    with np.errstate(divide="ignore", invalid="ignore"):
        for sign in (1, -1):
            apart = np.abs(s[..., :, None] + sign * s[..., None, :])
            ratio = np.abs(f[..., :, None] + sign * f[..., None, :]) / apart
            slopes.append(np.where(apart > step[..., None], ratio, 0).max((-2, -1)))
    return np.max(slopes, axis=0) * top


def tolerance(row: Row, x, f, growth, dtype) -> np.ndarray:
    """DESIGN's tolerance, relative to the largest image: 1e-5 (f32), 1e-12 (x64), and rounding times the slope."""
    base = 1e-5 if dtype == np.float32 else 1e-12
    size = np.abs(f).max((-2, -1))
    return base * np.where(size == 0, 1, size) + 16 * np.finfo(dtype).eps * growth


def check(row: Row, x, dtype=np.float32) -> None:
    """Compare ``apply`` with the reference, every entry of every matrix."""
    x = jnp.asarray(x, dtype)
    expected, growth = reference(row, x)
    y = row.apply(x)
    assert y.dtype == x.dtype
    error = np.abs(np.asarray(y) - expected).max((-2, -1))
    assert (error <= tolerance(row, x, expected, growth, dtype)).all(), (error, growth)


@every_row
@few
@given(falls=spectra, seed=seeds)
def test_every_singular_value(row, falls, seed):
    check(row, matrices(spectrum(row, falls), seed))


@every_row
def test_every_singular_value_in_float64(row):
    with jax.enable_x64(True):
        check(row, matrices(spectrum(row, [FALL[:3], FALL[1:4], FALL[2:], FALL[1::-1] + (0.02,)])), np.float64)


@every_row
@few
@given(falls=spectra)
def test_scalar_is_the_published_function(row, falls):
    s = spectrum(row, falls)
    s = np.where(s >= 0.03 * row.top, s, 0)
    ideal = row.ideal(s)
    np.testing.assert_allclose(row.image(s), ideal, atol=row.within * max(1e-300, np.abs(ideal).max()), rtol=0)


@every_row
@few
@given(falls=spectra, seed=seeds)
def test_orthogonal_equivariance(row, falls, seed):
    rng = np.random.default_rng(seed)
    x = matrices(spectrum(row, falls), seed)
    q, r = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in SHAPE[1:])
    expected, growth = reference(row, x)
    turned = np.asarray(row.apply(jnp.asarray(q @ x @ r, jnp.float32)))
    same = q @ np.asarray(row.apply(jnp.asarray(x, jnp.float32))) @ r
    error = np.abs(turned - same).max((-2, -1))
    assert (error <= 2 * tolerance(row, x, expected, growth, np.float32)).all(), error


@every_row
def test_slice_transpose_and_padding(row):
    x = jnp.asarray(ordinary(row), jnp.float32)
    y = row.apply(x)
    pad = (1, 2) if row.map.commutes_with_padding else (0, 0)
    alone = row.apply(jnp.pad(x[2], [(0, length) for length in pad]).T).T
    assert row.map.commutes_with_transpose
    np.testing.assert_allclose(alone[:4, :6], y[2], atol=1e-4 * float(jnp.abs(y).max()))
    assert not alone[4:].any()
    assert not alone[:, 6:].any()


@every_row
def test_zero_gives_zero_and_nan_stays_in_its_matrix(row):
    x = jnp.asarray(ordinary(row), jnp.float32)
    y = row.apply(x.at[0].set(0).at[1, 0, 0].set(jnp.nan).at[2, 1, 1].set(jnp.inf))
    assert (y[0] == 0).all()
    assert jnp.isnan(y[1]).all()
    assert not jnp.isfinite(y[2]).all()
    np.testing.assert_array_equal(y[3], row.apply(x)[3])


@every_row
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_tiny_and_huge(row, scale):
    if row.domain and scale > 1:
        pytest.skip("outside its domain by definition")
    x = ordinary(row).astype(np.float32) * np.float32(scale)
    expected, _ = reference(row, x)
    y = np.asarray(row.apply(jnp.asarray(x)), np.float64)
    # 1e-3: by matrix signs a huge matrix is scaled into reach, which leaves three digits of the cap.
    np.testing.assert_allclose(y, expected, atol=(2e-5 if row.exact else 1e-3) * np.abs(expected).max(), rtol=0)


@every_row
def test_rank_one_and_vectors(row):
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(4, 4, 1)), rng.normal(size=(4, 1, 6))
    outer = row.top * u * v / np.linalg.norm(u, axis=1, keepdims=True) / np.linalg.norm(v, axis=2, keepdims=True)
    check(row, outer)
    if getattr(row.map, "rank", 1) == 1:
        check(row, row.top * (v / np.linalg.norm(v, axis=2, keepdims=True))[0])


@every_row
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 3, 4)])
def test_empty(row, shape):
    assert row.map.apply(jnp.zeros(shape)).shape == shape


@every_row
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn])
def test_low_precision_is_computed_in_float32(row, dtype):
    x = jnp.asarray(ordinary(row) * 0.9, jnp.float32).astype(dtype)
    if not row.exact:  # their error is that of the arithmetic, measured in test_spectral_facts.py
        assert jax.eval_shape(row.map.apply, x).dtype == dtype
        return
    y, wide = row.apply(x), row.apply(x.astype(jnp.float32))
    assert y.dtype == dtype
    # Measured: one rounding of the result.
    rounding = {"rtol": 0.501 * float(jnp.finfo(dtype).eps), "atol": float(jnp.finfo(dtype).smallest_subnormal)}
    np.testing.assert_allclose(y.astype(jnp.float32), wide, **rounding)


@every_row
def test_complex(row):
    x = matrices(np.ones(4), 1) + 1j * matrices(np.ones(4), 2)
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    x = ((u * spectrum(row, (0.9, 0.5, 0.31))[None, None]) @ vh).astype(np.complex64)
    expected, growth = reference(row, x)
    y = np.asarray(row.apply(jnp.asarray(x)))
    assert y.dtype == np.complex64
    assert (np.abs(y - expected).max((-2, -1)) <= tolerance(row, x, expected, growth, np.float32)).all()


@every_row
def test_integers_and_vectors_are_refused(row):
    with pytest.raises(TypeError, match="int32"):
        row.map.apply(jnp.ones((2, 2), jnp.int32))
    with pytest.raises(ValueError, match="shape"):
        row.map.apply(jnp.ones(3))
