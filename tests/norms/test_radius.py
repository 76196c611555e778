"""Radii as functions of the dual norm, and the oracle that uses them."""

import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.norms import Clipped, DualPower, Fixed, Oracle, Smoothness

DUAL = jnp.array([0.0, 0.25, 2.0, 100.0])


def test_values():
    np.testing.assert_allclose(Fixed(3.0).at(DUAL), [3, 3, 3, 3])
    np.testing.assert_allclose(DualPower(1.0).at(DUAL), DUAL)
    np.testing.assert_allclose(DualPower(0.5).at(DUAL), [0, 0.5, 2**0.5, 10])
    np.testing.assert_allclose(Clipped(1.5).at(DUAL), [0, 0.25, 1.5, 1.5])
    np.testing.assert_allclose(Smoothness(2.0, 0.5).at(DUAL), [0, 0.25 / 2.125, 2 / 3, 100 / 52], rtol=1e-6)


def test_smoothness_holds_both_ends():
    np.testing.assert_array_equal(Smoothness(1, 0).at(DUAL), DualPower(1.0).at(DUAL))
    np.testing.assert_allclose(Smoothness(0, 4).at(DUAL)[1:], Fixed(0.25).at(DUAL)[1:])


def test_nan_stays_and_a_negative_rounding_counts_as_zero():
    for radius in (DualPower(0.5), Smoothness(1, 1), Clipped(1.0)):
        assert np.isnan(radius.at(jnp.array([jnp.nan]))[0])
    assert DualPower(0.5).at(jnp.array([-1e-9]))[0] == 0


@pytest.mark.parametrize(
    "make", [lambda: Fixed(0), lambda: Clipped(-1.0), lambda: Oracle(om.norms.Max(), 0.0), lambda: Fixed(float("nan"))]
)
def test_radii_must_be_positive(make):
    with pytest.raises(ValueError, match="(radius|limit) must be positive"):
        make()


@pytest.mark.parametrize("constants", [(0, 0), (-1, 1), (1, -1), (float("inf"), 1)])
def test_smoothness_constants(constants):
    with pytest.raises(ValueError, match="Smoothness"):
        Smoothness(*constants)


def test_oracle_reports_the_pairing_of_what_it_returns():
    x = (
        jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5)), jnp.float32)
        * jnp.array([1, 0, 3.0])[:, None, None]
    )
    for radius in (2.0, DualPower(1.0), Smoothness(1.0, 0.1)):
        y, carry, info = Oracle(om.norms.Max(), radius).apply(x, ())
        assert carry == ()
        np.testing.assert_allclose(info.dual, jnp.sum(x * y, axis=(-2, -1)), rtol=1e-6)
        assert not y[1].any()


def test_steepest_descent_minimises_its_quadratic_model():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5)), jnp.float32)
    norm = om.norms.Frobenius()
    np.testing.assert_allclose(Oracle(norm, DualPower(1.0)).apply(x, ())[0], x, rtol=1e-6)
