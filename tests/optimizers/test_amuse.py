"""AMUSE against its reference, training and evaluation points both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.amuse import amuse as reference
from tests.state import floats_per_parameter

POLAR = om.linalg.SVDPolar()
COMMON = {"learning_rate": 0.1, "warmup_steps": 4, "momentum": 0.9, "weight_decay": 0.05}


def make(**options):
    return om.amuse(orthogonalizer=POLAR, leaves=harness.LEAVES, interpolation=0.6, exponent=0.8, **COMMON, **options)


@pytest.mark.parametrize("final", ["y", "x"])
def test_matches_its_reference(final):
    finish = om.eval_params if final == "x" else lambda state, params: params
    with jax.enable_x64(True):
        orth = harness.numpy_map(POLAR)
        expected = functools.partial(reference, orth=orth, initial=0.6, exponent=0.8, final=final, **COMMON)
        harness.assert_matches(make(), expected, finish=finish)


def test_exponent_zero_is_schedule_free_muon_with_fixed_interpolation():
    cases = {"wide": harness.CASES["wide"]}
    leaves = {"wide": cases["wide"].leaf}
    with jax.enable_x64(True):
        weights, gradients = harness.problem(np.float64, cases=cases)
        common = {"momentum": 0.9, "orthogonalizer": POLAR, "leaves": leaves}
        ours = om.amuse(0.1, warmup_steps=3, interpolation=0.7, exponent=0.0, **common)
        rate = om.transforms.warmed_up(0.1, 3)
        muon = om.muon(rate, shape_scale=om.shapes.RMSMatch(0.2), **common)
        plain = om.transforms.schedule_free(muon, rate, 0.7)
        a, b = harness.run(ours, weights, gradients), harness.run(plain, weights, gradients)
        np.testing.assert_allclose(a["wide"], b["wide"], atol=1e-13)


def test_state_and_options():
    params = {"up": {"kernel": jnp.zeros((40, 40))}}
    assert round(floats_per_parameter(om.amuse(0.1, warmup_steps=5), params), 2) == 2
    for options in ({"momentum": 1.0}, {"interpolation": 0.0}, {"warmup_steps": 1}, {"form": "other"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.amuse(0.1, **({"warmup_steps": 5} | options))
