"""The falling temperature, and the medians it follows from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from optax_muon.transforms import _tempering
from tests.references.soft_signum import temperatures


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (4, 4), (7, 1, 2)])
def test_median_of_all_entries(sizes):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=n).astype(np.float32) * 10.0 ** rng.integers(-20, 20) for n in sizes]
    got = jax.jit(_tempering._median)([jnp.asarray(a, jnp.float32) for a in arrays])
    expected = np.median(np.concatenate(arrays).astype(np.float32))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_median_of_zeros_and_in_x64():
    assert _tempering._median([jnp.zeros(4), jnp.zeros(3)]) == 0
    assert _tempering._median([jnp.array([-1.0, -0.0, 0.0, 1.0])]) == 0
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=9)
        assert float(_tempering._median([jnp.asarray(x)])) == np.median(x)


def test_temperatures_fall_as_in_the_reference():
    z = np.random.default_rng(0).normal(size=101) * 0.01
    expected = temperatures(z, 8, np.arctanh(1 - 1e-4), 1e9)
    center = np.median(z)
    with jax.enable_x64(True):
        given = jnp.asarray(center), jnp.asarray(np.median(np.abs(z - center)))
        got = [float(_tempering.temperature(jnp.asarray(k), 8, *given, np.arctanh(1 - 1e-4), 1e9)) for k in range(8)]
    np.testing.assert_allclose(got, expected, rtol=1e-10)
    assert got[0] == 1e9
    assert got == sorted(got, reverse=True)


def test_temperature_without_spread():
    zero = jnp.zeros([])
    assert _tempering.temperature(jnp.array(3), 8, zero, zero, 5.0, 1e6) == 1e6
    assert _tempering.temperature(jnp.array(3), 8, jnp.array(-2.0), zero, 5.0, 1e6) == 2.5
