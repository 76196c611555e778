"""Sketches, the randomised polar factor and the randomised decomposition against exact subspace facts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optax_muon import linalg
from optax_muon.linalg.subspace._low_rank import find_range
from tests.linalg.spectral.table import SVD

SKETCHES = [linalg.GaussianSketch(), linalg.ColumnSketch(), linalg.ColumnSketch(by_norm=True)]
NAMES = ["normal", "columns", "columns by norm"]
KEY = jax.random.key(0)
every_sketch = pytest.mark.parametrize("sketch", SKETCHES, ids=NAMES)


def matrix(s, shape=(8, 12), seed=0):
    """A float32 matrix with the singular values ``s``."""
    u, _, vh = np.linalg.svd(np.random.default_rng(seed).normal(size=shape), full_matrices=False)
    return jnp.asarray((u * s) @ vh, jnp.float32)


def polar(x):
    u, s, vh = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    return (u * (s > 1e-6 * s.max())) @ vh


def randomized(sketch, **options):
    op = linalg.RandomizedPolar(**{"rank": 3, "oversample": 1, "sketch": sketch, "orthogonalizer": SVD} | options)
    return lambda x, key=KEY: op.apply(x, (), key=key)


def nuclear(x):
    return np.linalg.svd(np.asarray(x, np.float64), compute_uv=False).sum()


@every_sketch
@pytest.mark.parametrize("shape", [(8, 12), (12, 8)])
def test_it_is_the_polar_factor_of_the_projected_matrix(sketch, shape):
    x = matrix(np.geomspace(1, 0.2, 8), shape)
    y, carry, info = randomized(sketch)(x)
    assert carry == ()
    s = np.linalg.svd(y, compute_uv=False)
    np.testing.assert_allclose(s, [1] * 4 + [0] * 4, atol=1e-5)  # rank + oversample ones
    project = (lambda a: a @ y.T @ y) if shape[0] > shape[1] else (lambda a: y @ y.T @ a)
    np.testing.assert_allclose(y, polar(project(np.asarray(x, np.float64))), atol=1e-5)
    assert float(info.dual) == pytest.approx(float(jnp.sum(x * y)), rel=1e-5)
    assert float(info.dual) == pytest.approx(nuclear(project(np.asarray(x, np.float64))), rel=1e-5)
    assert 0 < float(info.dual) <= nuclear(x) + 1e-5


@every_sketch
def test_exact_when_the_subspace_holds_the_range(sketch):
    few = matrix([3.0, 1.0, 0.4, 0.2, 0, 0, 0, 0])
    np.testing.assert_allclose(randomized(sketch)(few)[0], polar(few), atol=2e-5)
    full = matrix(np.geomspace(1, 0.1, 8))
    np.testing.assert_allclose(randomized(sketch, rank=8, oversample=50)(full)[0], polar(full), atol=2e-5)


def test_power_steps_find_the_large_directions():
    x = matrix(np.r_[np.full(3, 1.0), np.full(5, 0.1)])
    best = [float(randomized(SKETCHES[0], power_steps=h)(x)[2].dual) for h in (0, 2)]
    assert best[0] < 3.09
    assert best[1] == pytest.approx(3.1, abs=1e-3)  # the most that four directions can have


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16), ratio=st.floats(1e-4, 1))
def test_normal_sketch_is_as_good_as_its_theory(seed, ratio):
    # Halko, Martinsson, Tropp, theorem 10.6: E |A - Q Q^T A| <= (1 + sqrt(k/(p-1))) s_(k+1) + e sqrt(k+p)/p rest.
    rank, p, s = 3, 4, np.geomspace(1, ratio, 8)
    x = matrix(s, seed=seed)
    q = np.asarray(find_range(x, rank + p, 0, SKETCHES[0], jax.random.key(seed)), np.float64)
    np.testing.assert_allclose(q.T @ q, np.eye(rank + p), atol=1e-5)
    miss = np.linalg.norm(x - q @ (q.T @ x), 2)
    rest = np.e * (rank + p) ** 0.5 / p * np.linalg.norm(s[rank:])
    assert miss <= 2 * ((1 + (rank / (p - 1)) ** 0.5) * s[rank] + rest)


@every_sketch
@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_scale_does_not_matter(sketch, scale):
    x = matrix(np.geomspace(1, 0.2, 8))
    y, _, info = randomized(sketch)(x)
    scaled, _, other = randomized(sketch)(x * np.float32(scale))
    np.testing.assert_allclose(scaled, y, atol=1e-4)
    assert float(other.dual) == pytest.approx(scale * float(info.dual), rel=1e-4)
    u, s, vh = linalg.RandomizedSVD(rank=2, sketch=sketch).apply(x * np.float32(scale), KEY)
    assert float(s[0]) == pytest.approx(scale, rel=1e-4)


@every_sketch
def test_stack_equals_slices_and_keys_matter(sketch):
    x, keys = matrix(np.geomspace(1, 0.2, 8), (3, 8, 12)), jax.random.split(KEY, 3)
    y, _, info = randomized(sketch)(x, keys)
    one, _, _ = randomized(sketch)(x[1], keys[1])
    np.testing.assert_allclose(y[1], one, atol=2e-5)
    assert info.dual.shape == (3,)
    nested = jax.eval_shape(randomized(sketch), x[:, None], keys[:, None])
    assert (nested[0].shape, nested[2].dual.shape) == ((3, 1, 8, 12), (3, 1))
    np.testing.assert_array_equal(randomized(sketch)(x, keys)[0], y)
    again, _, _ = randomized(sketch)(x, keys[::-1])
    assert float(jnp.abs(again - y).max()) > 1e-2


@every_sketch
def test_zero_nan_and_rank_one(sketch):
    x = matrix(np.geomspace(1, 0.2, 8), (3, 8, 12)).at[0].set(0).at[1, 0, 0].set(jnp.nan)
    y, _, _ = randomized(sketch)(x, jax.random.split(KEY, 3))
    assert not y[0].any()
    assert jnp.isnan(y[1]).all()
    np.testing.assert_allclose(np.linalg.svd(y[2], compute_uv=False), [1] * 4 + [0] * 4, atol=1e-5)
    spike = jnp.zeros((8, 12)).at[:, 0].set(2.0).at[0, 0].set(1.0)
    found, _, _ = randomized(sketch)(spike)
    if sketch != SKETCHES[1] or found.any():  # uniform columns may miss the only one that is not zero
        np.testing.assert_allclose(found, polar(spike), atol=1e-5)


def test_columns_are_drawn_without_replacement_and_by_norm():
    x = jnp.diag(jnp.arange(1.0, 9.0)) @ jnp.eye(8, 12)
    for sketch in SKETCHES[1:]:
        drawn = sketch.apply(x, 8, KEY)
        used = np.flatnonzero(np.asarray(drawn.sum(0)))
        assert len({int(jnp.argmax(drawn[:, i])) for i in used}) == len(used)
    by_norm = [np.asarray(SKETCHES[2].apply(x, 8, jax.random.key(i)).sum(0)) for i in range(40)]
    assert all((column > 0).all() for column in by_norm)  # eight columns are not zero, and eight are taken
    heavy = [float(column[0]) for column in by_norm]
    # The first draw is in proportion to k^2: mean sum k^3 / sum k^2 = 6.35, standard error 0.25.
    assert 5.5 < np.mean(heavy) < 7.2


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float8_e4m3fn])
def test_dtype_is_kept(dtype):
    x = matrix(np.geomspace(1, 0.2, 8)).astype(dtype)
    y, _, info = randomized(SKETCHES[0])(x)
    assert y.dtype == dtype
    assert info.dual.dtype == jnp.float32
    s = np.linalg.svd(np.asarray(y.astype(jnp.float32)), compute_uv=False)
    np.testing.assert_allclose(s, [1] * 4 + [0] * 4, atol=2 * float(jnp.finfo(dtype).eps))


def test_newton_schulz_is_the_default_orthogonalizer():
    x = matrix(np.geomspace(1, 0.2, 8))
    y, _, _ = linalg.RandomizedPolar(3, 1).apply(x, (), key=KEY)
    s = np.linalg.svd(y, compute_uv=False)
    assert ((s[:4] > 0.84) & (s[:4] < 1.16)).all()
    np.testing.assert_allclose(s[4:], 0, atol=1e-5)


@pytest.mark.parametrize(("sketch", "shape"), [(SKETCHES[0], (8, 12)), (SKETCHES[2], (12, 8))])
def test_randomized_svd_of_a_low_rank_matrix_is_exact(sketch, shape):
    s = np.r_[5.0, 2.0, 1.0, np.zeros(5)]
    x = matrix(s, (3, *shape))
    found = linalg.RandomizedSVD(rank=3, oversample=1, sketch=sketch).apply(x, jax.random.split(KEY, 3))
    u, values, vh = map(np.asarray, found)
    np.testing.assert_allclose(values, [s[:3]] * 3, rtol=1e-5)
    np.testing.assert_allclose((u * values[:, None]) @ vh, x, atol=2e-5)
    np.testing.assert_allclose(u.mT @ u, [np.eye(3)] * 3, atol=1e-5)
    np.testing.assert_allclose(vh @ vh.mT, [np.eye(3)] * 3, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 3, 4)])
def test_empty(shape):
    y, _, info = linalg.RandomizedPolar(2).apply(jnp.zeros(shape), (), key=jax.random.split(KEY, shape[:-2]))
    assert y.shape == shape
    assert info.dual.shape == shape[:-2]


BAD = [
    (lambda: linalg.RandomizedPolar(0), "rank"),
    (lambda: linalg.RandomizedPolar(2, -1), "oversample"),
    (lambda: linalg.RandomizedPolar(2, power_steps=-1), "power_steps"),
    (lambda: linalg.RandomizedPolar(9).apply(matrix(np.ones(8)), (), key=KEY), "rank 9"),
    (lambda: linalg.RandomizedPolar(2).apply(matrix(np.ones(8)), ()), "key"),
    (lambda: linalg.RandomizedPolar(2).apply(matrix(np.ones(8)), (), key=jax.random.split(KEY, 3)), "key"),
    (lambda: linalg.RandomizedSVD(0), "rank"),
    (lambda: linalg.RandomizedSVD(9).apply(matrix(np.ones(8)), KEY), "rank 9"),
    (lambda: linalg.RandomizedSVD(oversample=-1), "oversample"),
    (lambda: linalg.RandomizedPolar(2).apply(jnp.ones(3), (), key=KEY), "shape"),
]


@pytest.mark.parametrize(("make", "named"), BAD)
def test_bad_options_are_named(make, named):
    with pytest.raises(ValueError, match=named):
        make()
    with pytest.raises(TypeError, match="int32"):
        linalg.RandomizedPolar(2).apply(jnp.ones((4, 4), jnp.int32), (), key=KEY)
