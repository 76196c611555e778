"""Schedule-free NorMuon against its reference."""

import functools

import jax
import jax.numpy as jnp
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.sf_normuon import sf_normuon as reference
from tests.state import floats_per_parameter

NEWTON = om.linalg.NewtonSchulz(om.linalg.YOU_2025)


@pytest.mark.parametrize("final", ["y", "x"])
def test_matches_its_reference(final):
    options = {
        "learning_rate": 0.1,
        "warmup_steps": 4,
        "momentum": 0.8,
        "second_moment_decay": 0.9,
        "interpolation": 0.7,
    }
    finish = om.eval_params if final == "x" else lambda state, params: params
    cases = {n: c for n, c in harness.CASES.items() if final == "y" or n in ("tall", "uneven")}
    with jax.enable_x64(True):
        tx = om.sf_normuon(orthogonalizer=NEWTON, weight_decay=0.1, leaves=harness.LEAVES, **options)
        orth = harness.numpy_map(NEWTON)
        expected = functools.partial(reference, orth=orth, weight_decay=0.1, final=final, **options)
        harness.assert_matches(tx, expected, finish=finish, cases=cases)


def test_state_and_options():
    params = {"up": {"kernel": jnp.zeros((40, 50))}}
    floats = floats_per_parameter(om.sf_normuon(0.1, warmup_steps=3), params) * 2000
    assert round(floats) == 2 * 2000 + 50 + 2  # the sum of weights and b are scalars
    for options in ({"momentum": 1.0}, {"interpolation": 0.0}, {"warmup_steps": 0}, {"rms": 0.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.sf_normuon(0.1, **({"warmup_steps": 5} | options))
