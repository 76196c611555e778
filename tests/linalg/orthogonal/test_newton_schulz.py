"""The plain iteration: any odd schedule, in any arithmetic, as a float64 program in NumPy has it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg
from tests.linalg.spectra import newton_schulz, one_shape

pytestmark = pytest.mark.thinned(2)


def matrix(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_every_table_in_float64():
    with jax.enable_x64(True):
        op = jax.jit(lambda rows, x: linalg.NewtonSchulz(rows).apply(x))
        for table in linalg.TABLES:
            x = matrix((6, 20))
            np.testing.assert_allclose(op(one_shape(table), x), newton_schulz(x, table), atol=1e-12, err_msg=table.name)


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 7), (7, 1), (1, 1), (2, 3, 5, 9)])
def test_every_shape(shape):
    with jax.enable_x64(True):
        x = matrix(shape)
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        expected = (u * np.asarray(linalg.NewtonSchulz().scalar(jnp.asarray(s)))[..., None, :]) @ vh
        np.testing.assert_allclose(linalg.NewtonSchulz().apply(jnp.asarray(x)), expected, atol=1e-11)


@pytest.mark.parametrize("degree", [3, 5, 7, 9])
def test_any_odd_degree_and_traced_coefficients(degree):
    rows = np.random.default_rng(1).normal(size=(3, (degree + 1) // 2)) / 2
    with jax.enable_x64(True):
        x = matrix((5, 8))
        y = jax.jit(lambda rows, x: linalg.NewtonSchulz(rows).apply(x))(jnp.asarray(rows), jnp.asarray(x))
        u, s, vh = np.linalg.svd(x / np.linalg.norm(x), full_matrices=False)
        for row in rows:
            s = sum(c * s ** (2 * i + 1) for i, c in enumerate(row))
        np.testing.assert_allclose(y, (u * s) @ vh, atol=1e-12)


def test_coefficients_stay_wide_when_storage_is_narrow():
    """8.157 would be 8.125 in bfloat16: on a 1 x 1 matrix every product is exact enough to see it."""
    rows = np.array([[8.156554524902461, 0.0, 0.0]])
    y = linalg.NewtonSchulz(rows, arithmetic=linalg.BFLOAT16).apply(jnp.ones((1, 1)))
    assert float(y[0, 0]) == float(jnp.bfloat16(8.156554524902461))
    halved = linalg.NewtonSchulz(np.array([[8.156554524902461, -8.0, 0.0]]), arithmetic=linalg.BFLOAT16)
    assert float(halved.apply(jnp.ones((1, 1)))[0, 0]) == float(jnp.bfloat16(0.156554524902461))


def test_bfloat16_storage_is_close():
    op = linalg.NewtonSchulz(linalg.YOU_2025, arithmetic=linalg.BFLOAT16)
    x = jnp.asarray(matrix((16, 48)), jnp.float32)
    y = op.apply(x)
    assert y.dtype == jnp.float32
    # 5 steps of 8-bit rounding; 0.02 was measured, and it must not be float32 in disguise.
    error = float(jnp.abs(y - linalg.NewtonSchulz(linalg.YOU_2025).apply(x)).max())
    assert 1e-4 < error < 0.03


@pytest.mark.parametrize("normalize", [linalg.Schatten4(), linalg.PowerIteration(), linalg.AOL()], ids=repr)
def test_reusing_the_gram_matrix_changes_nothing(normalize):
    with jax.enable_x64(True):
        x = jnp.asarray(matrix((6, 9)))
        fresh = newton_schulz(normalize.apply(x), linalg.YOU_2025, norm=1.0)
        np.testing.assert_allclose(linalg.NewtonSchulz(linalg.YOU_2025, normalize).apply(x), fresh, atol=1e-12)


def test_the_table_s_own_normaliser_unless_another_is_given():
    assert linalg.NewtonSchulz(linalg.AOL_2025).normalizer == linalg.AOL()
    assert linalg.NewtonSchulz(linalg.AOL_2025, linalg.Frobenius()).normalizer == linalg.Frobenius()
    assert linalg.NewtonSchulz(np.ones((1, 2))).normalizer == linalg.Frobenius()


@pytest.mark.parametrize("rows", [np.zeros((0, 3)), np.zeros((5, 1)), np.zeros(3)])
@pytest.mark.parametrize("make", [linalg.NewtonSchulz, linalg.GramNewtonSchulz, linalg.best])
def test_bad_coefficients_raise_at_construction(make, rows):
    with pytest.raises(ValueError, match=r"coefficients must have shape \(steps >= 1, terms >= 2\)"):
        make(rows)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"storage": jnp.float8_e4m3fn}, "storage must be .* not .*float8_e4m3fn"),
        ({"storage": jnp.int8}, "storage"),
        ({"storage": jnp.complex64}, "storage"),
        ({"precision": "highest"}, "precision must be a jax.lax.Precision, not 'highest'"),
        ({"precision": None}, "precision"),
    ],
)
def test_bad_arithmetic(options, match):
    with pytest.raises(ValueError, match=match):
        linalg.Arithmetic(**options)


def test_complex_matrices_do_not_fit_a_real_storage():
    with pytest.raises(TypeError, match="storage bfloat16 has no room for complex64"):
        linalg.NewtonSchulz(arithmetic=linalg.BFLOAT16).apply(jnp.ones((2, 3), jnp.complex64))
