"""Constants from samples of the smoothness."""

import numpy as np
import pytest

import optax_muon as om


def test_fit_finds_constants_and_keeps_them_positive():
    duals = np.linspace(0.1, 4, 30)
    fit = om.norms.fit_smoothness(2 + 0.5 * duals, duals)
    assert (fit.constant, fit.slope) == (pytest.approx(2), pytest.approx(0.5))
    falling = om.norms.fit_smoothness(np.append(5 - duals, np.nan), np.append(duals, 1.0))
    assert falling.slope == 0
    assert falling.constant == pytest.approx(np.mean(5 - duals))
    steep = om.norms.fit_smoothness(3 * duals - 1, duals)
    assert steep.constant == 0
    assert steep.slope > 2
    with pytest.raises(ValueError, match="no positive finite estimate"):
        om.norms.fit_smoothness([np.nan, 0.0], [1.0, 1.0])
