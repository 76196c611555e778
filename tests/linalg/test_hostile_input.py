"""What every orthogonaliser makes of input that gradients are made of: the right answer, or one error that says why."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg

pytestmark = pytest.mark.thinned(3)

MAPS = {
    "plain": linalg.NewtonSchulz(linalg.YOU_2025),
    "plain bf16": linalg.NewtonSchulz(linalg.YOU_2025, arithmetic=linalg.BFLOAT16),
    "AOL": linalg.NewtonSchulz(linalg.AOL_2025),
    "power": linalg.NewtonSchulz(normalize=linalg.PowerIteration()),
    "Gram": linalg.GramNewtonSchulz(),
    "Gram Schatten": linalg.GramNewtonSchulz(normalize=linalg.Schatten4()),
    "Gram f16": linalg.GramNewtonSchulz(linalg.YOU_2025, arithmetic=linalg.FLOAT16),
    "best": linalg.best(),
    "SVD": linalg.SVDPolar(),
    "QDWH": linalg.QDWHPolar(),
}
every = pytest.mark.parametrize("name", MAPS)

SHAPE = (8, 4, 9)
ORDINARY, ZERO, NAN, INF, TINY, HUGE, RANK_ONE, ONE_ROW = range(8)


def mixed():
    """One matrix of each kind, so that one compilation and one look serve them all."""
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    x[ZERO] = 0
    x[NAN, 1, 2] = np.nan
    x[INF, 0, 0] = np.inf
    x[TINY], x[HUGE] = x[ORDINARY] * 1e-30, x[ORDINARY] * 1e30
    x[RANK_ONE] = np.outer([1.0, -2.0, 3.0, 0.5], x[RANK_ONE, 0])
    x[ONE_ROW, 1:] = 0
    return x


@pytest.fixture(scope="module")
def outputs():
    """Image of the stack under every map."""
    return {name: np.asarray(jax.jit(op.apply)(mixed())) for name, op in MAPS.items()}


@every
def test_zero_gives_zero(outputs, name):
    assert (outputs[name][ZERO] == 0).all()


@every
def test_nan_and_infinity_stay_and_stay_at_home(outputs, name):
    y = outputs[name]
    assert np.isnan(y[NAN]).all()
    assert not np.isfinite(y[INF]).all()
    rest = [ORDINARY, ZERO, TINY, HUGE, RANK_ONE, ONE_ROW]
    assert np.isfinite(y[rest]).all()
    alone = jax.jit(MAPS[name].apply)(mixed()[rest])
    np.testing.assert_allclose(y[rest], alone, atol=0.02 if "bf16" in name or "f16" in name else 2e-5)


@every
def test_scale_does_not_matter(outputs, name):
    y = outputs[name]
    for other in (TINY, HUGE):
        np.testing.assert_allclose(y[other], y[ORDINARY], atol=0.02 if "bf16" in name or "f16" in name else 5e-5)


@every
def test_rank_one_keeps_its_direction(outputs, name):
    for which in (RANK_ONE, ONE_ROW):
        x = mixed()[which].astype(np.float64)
        along = (x * outputs[name][which]).sum() / np.linalg.norm(x)
        assert 0.85 < along < 1.15
        off = outputs[name][which] - along * x / np.linalg.norm(x)
        if "bf16" not in name and "f16" not in name and name != "AOL":  # AOL's image lies along another vector
            assert np.linalg.norm(off) < 1e-3


@every
@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 1)])
def test_a_vector_is_divided_by_its_norm(name, shape):
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    y = np.asarray(MAPS[name].apply(jnp.asarray(x)))
    along = float((x * y).sum() / np.linalg.norm(x))
    if name != "AOL":
        tolerance = 0.01 if "bf16" in name or "f16" in name else 1e-6
        np.testing.assert_allclose(y, along * x / np.linalg.norm(x), atol=tolerance)
    assert 0.85 < along < 1.15


@every
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 3, 4)])
def test_empty(name, shape):
    y = MAPS[name].apply(jnp.zeros(shape))
    assert y.shape == shape
    assert y.dtype == jnp.float32


@every
def test_integers_and_vectors_are_refused(name):
    with pytest.raises(TypeError, match="takes floating-point matrices, not int32: cast"):
        MAPS[name].apply(jnp.ones((2, 2), jnp.int32))
    with pytest.raises(ValueError, match="takes matrices of shape"):
        MAPS[name].apply(jnp.ones(3))


@every
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float8_e4m3fn, jnp.float8_e5m2])
def test_narrow_input_is_computed_wide_and_rounded_once(name, dtype):
    x = jnp.asarray(mixed()[:1], jnp.float32).astype(dtype)
    y = MAPS[name].apply(x)
    assert y.dtype == dtype
    wide = MAPS[name].apply(x.astype(jnp.float32))
    np.testing.assert_array_equal(np.asarray(y, np.float32), np.asarray(wide.astype(dtype), np.float32))


@every
def test_complex(name):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(3, 6)) + 1j * rng.normal(size=(3, 6))).astype(np.complex64)
    if "f16" in name:
        with pytest.raises(TypeError, match="storage .* has no room for complex64"):
            MAPS[name].apply(jnp.asarray(x))
        return
    y = np.asarray(MAPS[name].apply(jnp.asarray(x)))
    assert y.dtype == np.complex64
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    if name not in ("AOL", "power"):
        expected = (u * np.asarray(MAPS[name].scalar(jnp.asarray(s)))) @ vh
        np.testing.assert_allclose(y, expected, atol=5e-5)
    assert np.linalg.svd(y, compute_uv=False).min() > 0.8
