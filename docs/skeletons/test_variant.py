"""Variant beside its reference, on leaves of every kind."""

import functools

import jax

import optax_muon as om
from tests.references import harness
from tests.references.variant import variant

RATE = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}


def test_reference_in_x64():
    with jax.enable_x64(True):
        # The exact map on both sides, so that the logic alone can differ.
        tx = om.variant(orthogonalizer=om.linalg.SVDPolar(), leaves=harness.LEAVES, **RATE)
        harness.assert_matches(tx, functools.partial(variant, **RATE))
