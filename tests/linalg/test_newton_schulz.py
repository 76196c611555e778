"""Newton-Schulz and the exact polar factor do to singular values what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon import linalg

TABLES = [linalg.JORDAN_2024, linalg.YOU_2025, linalg.POLAR_EXPRESS_PAPER_2025.with_safety(1.01),
          linalg.POLAR_EXPRESS_NANOGPT_2025]  # fmt: skip
MAPS = [linalg.NewtonSchulz(table) for table in TABLES] + [linalg.SVDPolar()]
IDS = [table.name for table in TABLES] + ["SVDPolar"]
SHAPES = [(8, 8), (6, 20), (20, 6), (1, 7), (7, 1), (2, 3, 5, 9)]


def matrix(shape, spectrum=None, seed=0, dtype=np.float64):
    """A random matrix, with the given singular values if any."""
    x = np.random.default_rng(seed).normal(size=shape)
    if spectrum is not None:
        u, _, vh = np.linalg.svd(x, full_matrices=False)
        x = (u * spectrum) @ vh
    return x.astype(dtype)


@pytest.mark.parametrize("op", MAPS, ids=IDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_scalar_image_of_every_singular_value(op, shape):
    with jax.enable_x64(True):
        x = matrix(shape)
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        expected = (u * np.asarray(op.scalar(jnp.asarray(s)))[..., None, :]) @ vh
        np.testing.assert_allclose(op.apply(jnp.asarray(x)), expected, atol=1e-11)


@pytest.mark.parametrize("op", MAPS, ids=IDS)
def test_float32_close_to_float64(op):
    x = matrix((16, 48), np.geomspace(1, 1e-2, 16))
    with jax.enable_x64(True):
        exact = np.asarray(op.apply(jnp.asarray(x)))
    np.testing.assert_allclose(op.apply(jnp.asarray(x, jnp.float32)), exact, atol=2e-4)


@pytest.mark.parametrize("op", MAPS, ids=IDS)
def test_batch_equals_slices_and_transposes(op):
    x = jnp.asarray(matrix((4, 6, 10)), jnp.float32)
    y = op.apply(x)
    np.testing.assert_allclose(y, jnp.stack([op.apply(m) for m in x]), atol=1e-6)
    np.testing.assert_allclose(op.apply(x.mT), y.mT, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("op", MAPS, ids=IDS)
def test_scale_invariant(op, scale):
    x = jnp.asarray(matrix((8, 12)), jnp.float32)
    np.testing.assert_allclose(op.apply(x * scale), op.apply(x), atol=2e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize("op", MAPS, ids=IDS)
def test_dtype_is_kept(op, dtype):
    x = jnp.asarray(matrix((8, 12)), dtype)
    y = op.apply(x)
    assert y.dtype == dtype
    eps = float(jnp.finfo(dtype).eps)  # computed in float32, rounded once
    np.testing.assert_allclose(y.astype(jnp.float32), op.apply(x.astype(jnp.float32)), atol=2 * eps)


@pytest.mark.parametrize("op", MAPS, ids=IDS)
def test_zero_gives_zero_and_nan_stays_in_its_matrix(op):
    x = jnp.asarray(matrix((3, 4, 6)), jnp.float32).at[0].set(0).at[1, 0, 0].set(jnp.nan)
    y = op.apply(x)
    assert (y[0] == 0).all()
    assert jnp.isnan(y[1]).all()
    np.testing.assert_allclose(y[2], op.apply(x[2]), atol=1e-6)


@pytest.mark.parametrize("op", MAPS, ids=IDS)
def test_infinity_is_not_hidden(op):
    assert not jnp.isfinite(op.apply(jnp.ones((4, 6)).at[0, 0].set(jnp.inf))).all()


@pytest.mark.parametrize("op", MAPS, ids=IDS)
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 3, 4)])
def test_empty(op, shape):
    assert op.apply(jnp.zeros(shape)).shape == shape


@pytest.mark.parametrize("op", MAPS, ids=IDS)
def test_integers_and_vectors_are_refused(op):
    with pytest.raises(TypeError, match="int32"):
        op.apply(jnp.ones((2, 2), jnp.int32))
    with pytest.raises(ValueError, match="shape"):
        op.apply(jnp.ones(3))


def test_rank_one_gives_no_noise_on_the_null_space():
    x = jnp.outer(jnp.arange(1.0, 5.0), jnp.ones(6))
    s = jnp.linalg.svd(linalg.SVDPolar().apply(x), compute_uv=False)
    np.testing.assert_allclose(s, [1, 0, 0, 0], atol=1e-6)


def test_bfloat16_storage_is_close():
    op = linalg.NewtonSchulz(linalg.YOU_2025, arithmetic=linalg.BFLOAT16)
    x = jnp.asarray(matrix((16, 48)), jnp.float32)
    y = op.apply(x)
    assert y.dtype == jnp.float32
    # 5 steps of 8-bit rounding; 0.02 was measured, and it must not be float32 in disguise.
    error = float(jnp.abs(y - linalg.NewtonSchulz(linalg.YOU_2025).apply(x)).max())
    assert 1e-4 < error < 0.03


@pytest.mark.parametrize("degree", [3, 5, 7, 9])
def test_any_odd_degree_and_traced_coefficients(degree):
    rows = np.random.default_rng(1).normal(size=(3, (degree + 1) // 2)) / 2
    with jax.enable_x64(True):
        x = matrix((5, 8))
        y = jax.jit(lambda rows, x: om.linalg.NewtonSchulz(rows).apply(x))(jnp.asarray(rows), jnp.asarray(x))
        u, s, vh = np.linalg.svd(x / np.linalg.norm(x), full_matrices=False)
        for row in rows:
            s = sum(c * s ** (2 * i + 1) for i, c in enumerate(row))
        np.testing.assert_allclose(y, (u * s) @ vh, atol=1e-12)


@pytest.mark.parametrize("table", TABLES, ids=[t.name for t in TABLES])
def test_published_image_of_the_interval(table):
    # performance.md A3, to its three decimals: image of [1e-2, 1] in float64.
    published = {
        "JORDAN_2024": (0.682, 1.134),
        "YOU_2025": (0.978, 1.032),
        "POLAR_EXPRESS_NANOGPT_2025": (0.859, 1.141),
    }
    if table.name in published:
        assert table.image(1e-2) == pytest.approx(published[table.name], abs=1e-3)
    else:
        assert table.image(1e-3) == pytest.approx((1, 1), abs=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: linalg.NewtonSchulz(np.zeros((0, 3))),
        lambda: linalg.NewtonSchulz(np.zeros((5, 1))),
        lambda: linalg.NewtonSchulz(np.zeros(3)),
        lambda: linalg.JORDAN_2024.first(0),
        lambda: linalg.Coefficients("ragged", ((1.0, 2.0), (1.0,)), "nowhere"),
        lambda: linalg.Coefficients("unsafe", ((1.0, 2.0),), "nowhere", safety=0.9),
    ],
)
def test_bad_options_raise_at_construction(make):
    with pytest.raises(ValueError, match="coefficients"):
        make()


def test_first_truncates_and_repeats_the_last_row():
    assert linalg.YOU_2025.first(2).rows == linalg.YOU_2025.rows[:2]
    assert linalg.YOU_2025.first(7).rows == linalg.YOU_2025.rows + linalg.YOU_2025.rows[-1:] * 2
