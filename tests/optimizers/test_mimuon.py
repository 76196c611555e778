"""MiMuon against its reference, and its two ends."""

import functools

import jax
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.mimuon import mimuon as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
GATES = {"gap": om.linalg.SpectralGap(0.07), "norm": om.linalg.LargeEnough(3.0)}


@pytest.mark.parametrize("gate", GATES)
def test_reference_in_x64(gate):
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}
    with jax.enable_x64(True):
        tx = om.mimuon(gate=GATES[gate], orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        expected = functools.partial(reference, orth=polar, tau=GATES[gate].threshold, gap=gate == "gap", **options)
        harness.assert_matches(tx, expected)


@pytest.mark.parametrize("threshold", [0.0, float("inf")])
def test_its_ends_are_muon_and_gradient_descent(threshold):
    few = {name: harness.CASES[name] for name in ("wide", "stacked")}
    weights, gradients = harness.problem(np.float32, cases=few)
    options = {"nesterov": False, "weight_decay": 0.1, "leaves": {name: case.leaf for name, case in few.items()}}
    tx = om.mimuon(0.1, gate=om.linalg.SpectralGap(threshold), orthogonalizer=SVD, **options)
    ours = harness.run(tx, weights, gradients)
    identity = om.linalg.Gated(om.linalg.LargeEnough(float("inf")))
    end = om.muon(0.1, orthogonalizer=identity if threshold else SVD, shape_scale=om.shapes.Constant(1.0), **options)
    theirs = harness.run(end, weights, gradients)
    for name in few:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)
