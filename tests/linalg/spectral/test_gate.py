"""Maps behind a gate."""

import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon.linalg import Gated, LargeEnough, SpectralGap, SVDPolar


def with_spectrum(*s, seed=0):
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in (len(s) + 2, len(s)))
    return jnp.asarray((u[:, : len(s)] * np.array(s)) @ v, jnp.float32)


@pytest.mark.parametrize(
    ("gate", "spectrum", "opens"),
    [
        (SpectralGap(0.5), (3.0, 2.0, 1.4), True),
        (SpectralGap(0.5), (3.0, 1.6, 1.4), False),
        (SpectralGap(0.5), (3.0, 2.0, 0.0), True),
        (SpectralGap(0.5), (3.0, 0.0, 0.0), True),
        (SpectralGap(1e-3), (2.0, 2.0, 2.0), False),
        (SpectralGap(0.0), (2.0, 2.0, 2.0), True),
        (SpectralGap(float("inf")), (3.0, 2.0, 1.0), False),
        (LargeEnough(3.0), (3.0, 1.0, 0.0), True),
        (LargeEnough(3.0), (2.0, 2.0, 0.9), False),
    ],
)
def test_gates_and_maps(gate, spectrum, opens):
    x, s = with_spectrum(*spectrum), jnp.array(spectrum)
    assert bool(gate.opens(x)) == bool(gate.opens_scalar(s)) == opens
    expected = SVDPolar().apply(x) if opens else x
    np.testing.assert_allclose(Gated(gate).apply(x), expected, atol=1e-5)
    np.testing.assert_allclose(Gated(gate).scalar(s), SVDPolar().scalar(s) if opens else s, atol=1e-6)


def test_matrices_are_judged_one_by_one_and_nan_stays():
    stack = jnp.stack([with_spectrum(3.0, 2.0), with_spectrum(2.0, 2.0), with_spectrum(2.0, 1.0).at[0, 0].set(jnp.nan)])
    y = Gated(SpectralGap(0.5)).apply(stack)
    np.testing.assert_allclose(jnp.linalg.svd(y[:2], compute_uv=False), [[1, 1], [2, 2]], rtol=1e-5)
    assert jnp.isnan(y[2]).any()
    assert Gated(SpectralGap(0.5)).apply(jnp.zeros((0, 3))).shape == (0, 3)
    low = Gated(LargeEnough(1.0)).apply(with_spectrum(3.0, 2.0).astype(jnp.bfloat16))
    assert low.dtype == jnp.bfloat16
