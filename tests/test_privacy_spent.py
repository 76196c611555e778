"""Epsilon beside values of dp-accounting 0.6.0, which need not be installed, and beside the definition."""

import math

import pytest

import optax_muon as om

# PLDAccountant().compose(GaussianDpEvent(sigma), steps).get_epsilon(delta)
KNOWN = [(20.0, 100, 1e-5, 1.99309140790881), (1.0, 1, 1e-5, 4.3771781000249295)]


@pytest.mark.parametrize(("sigma", "steps", "delta", "epsilon"), KNOWN)
def test_without_sampling_it_is_exact(sigma, steps, delta, epsilon):
    assert om.privacy_spent(sigma, steps, delta) == pytest.approx(epsilon, rel=1e-6)


def test_ends_of_the_range():
    assert om.privacy_spent(1.0, 0, 1e-5) == 0
    assert om.privacy_spent(0.0, 1, 1e-5) == math.inf
    assert om.privacy_spent(1e6, 1, 0.1) == 0
    # For much noise taken away epsilon is mu^2 / 2 and what delta asks for, about mu times its quantile.
    mu = 100.0
    assert om.privacy_spent(0.1, 100, 1e-5) == pytest.approx(mu**2 / 2 + 4.265 * mu, rel=2e-3)
    for wrong in ({"delta": 0.0}, {"delta": 1.0}, {"steps": -1}, {"sampling_rate": 1.5}, {"noise_multiplier": -1.0}):
        with pytest.raises(ValueError, match="privacy_spent"):
            om.privacy_spent(**{"noise_multiplier": 1.0, "steps": 1, "delta": 1e-5} | wrong)


def test_sampling_amplifies_or_says_what_to_install():
    pytest.importorskip("dp_accounting")
    # 1.8282: seen with version 0.6.0.
    assert om.privacy_spent(1.0, 1000, 1e-5, sampling_rate=0.01) == pytest.approx(1.8282, rel=1e-3)


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dp_accounting", None)
    with pytest.raises(ImportError, match=r"optax-muon\[privacy\]"):
        om.privacy_spent(1.0, 10, 1e-5, sampling_rate=0.5)
