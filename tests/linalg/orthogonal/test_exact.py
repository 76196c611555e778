"""Both exact polar factors are partial isometries, and nothing on the null space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon import linalg
from tests.linalg.spectra import with_spectrum

OPS = [linalg.SVDPolar(), linalg.QDWHPolar()]
SPECTRA = {
    "full": [3.0, 2.0, 1.0, 0.5, 0.1],
    "decay": [1.0, 1e-1, 1e-2, 1e-3, 1e-4],
    "rank 3": [1.0, 1.0, 0.3, 0, 0],
    "rank 1": [1.0, 0, 0, 0, 0],
    "zero": [0.0] * 5,
}

every = pytest.mark.parametrize("op", OPS, ids=["SVDPolar", "QDWHPolar"])


def case(name, shape, dtype):
    """Input of a dtype, and the partial isometry of its true spectrum."""
    s = np.array(SPECTRA[name])
    return jnp.asarray(with_spectrum(s, shape), dtype), with_spectrum((s > 0) * 1.0, shape)


def tolerance(name, dtype):
    """The factor of a matrix moves by its own rounding over its smallest kept singular value."""
    s = [v for v in SPECTRA[name] if v > 0] or [1.0]
    return 8 * float(np.finfo(dtype).eps) * max(s) / min(s)


@every
@pytest.mark.parametrize("shape", [(5, 5), (5, 9), (9, 5)])
def test_partial_isometry_over_the_rank(op, shape):
    apply = jax.jit(op.apply)
    for name in SPECTRA:
        x, exact = case(name, shape, jnp.float32)
        np.testing.assert_allclose(apply(x), exact, atol=tolerance(name, np.float32), err_msg=name)


@every
def test_float64(op):
    with jax.enable_x64(True):
        apply = jax.jit(op.apply)
        for name in SPECTRA:
            x, exact = case(name, (5, 9), jnp.float64)
            np.testing.assert_allclose(apply(x), exact, atol=tolerance(name, np.float64), err_msg=name)


def test_raw_qdwh_leaves_noise_that_ours_removes():
    x, exact = case("rank 1", (9, 5), jnp.float32)
    raw = jax.lax.linalg.qdwh(x)[0]
    assert np.abs(raw - exact).max() > 1e-3
    np.testing.assert_allclose(linalg.QDWHPolar().apply(x), exact, atol=1e-6)


@every
def test_hermitian_rest_is_positive(op):
    x = jax.random.normal(jax.random.key(0), (2, 4, 7)) + 1j * jax.random.normal(jax.random.key(1), (2, 4, 7))
    y = op.apply(x)
    rest = jnp.conj(y.mT) @ x
    np.testing.assert_allclose(rest, jnp.conj(rest.mT), atol=1e-5)
    assert np.linalg.eigvalsh(rest).min() > -1e-5
    np.testing.assert_allclose(y @ jnp.conj(y.mT), np.broadcast_to(np.eye(4), (2, 4, 4)), atol=1e-6)


@every
def test_scalar(op):
    s = jnp.array([[2.0, 1e-3, 0.0], [jnp.nan, 1.0, 1.0], [0.0, 0.0, 0.0]])
    image = op.scalar(s)
    assert image[0].tolist() == [1, 1, 0]
    assert jnp.isnan(image[1]).any()
    assert image[2].tolist() == [0, 0, 0]
