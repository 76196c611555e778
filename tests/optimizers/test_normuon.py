"""NorMuon against its reference, and where it is Muon."""

import functools

import jax
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muon import muon
from tests.references.normuon import normuon as reference
from tests.references.polar import polar

OPTIONS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}


def test_reference_in_x64():
    with jax.enable_x64(True):
        tx = om.normuon(orthogonalizer=om.linalg.SVDPolar(), second_moment_decay=0.8, leaves=harness.LEAVES, **OPTIONS)
        harness.assert_matches(tx, functools.partial(reference, orth=polar, second_moment_decay=0.8, **OPTIONS))


def test_equals_muon_where_outputs_do_not_outnumber_inputs_and_nowhere_else():
    tall = {name: harness.CASES[name] for name in ("square", "tall")}  # in >= out
    leaves = {name: case.leaf for name, case in harness.CASES.items()}
    expected = functools.partial(muon, orth=polar, **OPTIONS)
    with jax.enable_x64(True):
        tx = om.normuon(orthogonalizer=om.linalg.SVDPolar(), leaves=leaves, **OPTIONS)
        harness.assert_matches(tx, expected, tolerance=1e-8, cases=tall)
        with pytest.raises(AssertionError, match="wide"):
            harness.assert_matches(tx, expected, tolerance=1e-3, cases={"wide": harness.CASES["wide"]})


def test_the_norm_of_the_orthogonal_factor_is_kept():
    case = {"wide": harness.CASES["wide"]}
    weights, gradients = harness.problem(np.float32, cases=case)
    leaves = {"wide": case["wide"].leaf}
    tx = om.normuon(1.0, orthogonalizer=om.linalg.SVDPolar(), shape_scale=om.shapes.RMSMatch(0.2), leaves=leaves)
    updates, _ = tx.update(gradients[0], tx.init(weights), weights)
    assert abs(np.sqrt(np.mean(np.square(updates["wide"]))) - 0.2) < 1e-6


def test_refusals():
    for name in ("momentum", "second_moment_decay"):
        with pytest.raises(ValueError, match="normuon|normalize_neurons"):
            om.normuon(0.02, **{name: 1.0})
