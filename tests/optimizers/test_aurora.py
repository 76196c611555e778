"""Aurora against its reference, and where it is another."""

import functools

import jax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.aurora import aurora as reference
from tests.references.muon import muon
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
OPTIONS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}


def test_reference_in_x64():
    few = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}
    with jax.enable_x64(True):
        tx = om.aurora(orthogonalizer=SVD, iterations=3, power=0.7, leaves=harness.LEAVES, **OPTIONS)
        expected = functools.partial(reference, orth=polar, iterations=3, power=0.7, **OPTIONS)
        harness.assert_matches(tx, expected, cases=few)


def test_square_matrices_are_muon_s():
    with jax.enable_x64(True):
        tx = om.aurora(orthogonalizer=SVD, leaves=harness.LEAVES, **OPTIONS)
        cases = {"square": harness.CASES["square"]}
        harness.assert_matches(tx, functools.partial(muon, orth=polar, **OPTIONS), cases=cases)


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="aurora: momentum"):
        om.aurora(0.02, momentum=1.0)
    with pytest.raises(ValueError, match="iterations"):
        om.aurora(0.02, iterations=0)
