"""LionMuon against its reference, and what it becomes at the ends of its period."""

import functools

import jax
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.lion_muon import lion_muon as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "stacked")}
LEAVES = {name: case.leaf for name, case in FEW.items()}


def test_reference_in_x64():
    with jax.enable_x64(True):
        tx = om.lion_muon(0.1, period=3, orthogonalizer=SVD, sign_scale=0.2, leaves=harness.LEAVES)
        expected = functools.partial(reference, orth=polar, learning_rate=0.1, sign_rate=0.02, period=3)
        harness.assert_matches(tx, expected)


def test_between_its_turns_it_is_lion():
    weights, gradients = harness.problem(np.float32, cases=FEW)
    ours = om.lion_muon(0.1, period=1000, orthogonalizer=SVD, sign_scale=0.2, leaves=LEAVES)
    lion = optax.lion(0.02, weight_decay=0.1)
    update, theirs = jax.jit(ours.update), jax.jit(lion.update)
    states = ours.init(weights), lion.init(weights)
    for i, g in enumerate(gradients[:4]):
        (a, first), (b, second) = update(g, states[0], weights), theirs(g, states[1], weights)
        states = first, second
        assert i == 0 or all(np.allclose(a[n], b[n], atol=1e-6) for n in FEW)
        assert i > 0 or not any(np.allclose(a[n], b[n], atol=1e-3) for n in FEW)


def test_period_one_is_muon_where_the_rates_agree():
    weights, gradients = harness.problem(np.float32, cases=FEW)
    options = {"orthogonalizer": SVD, "weight_decay": 0.1, "leaves": LEAVES}
    ours = harness.run(
        om.lion_muon(0.1, period=1, step_decay=0.9, average_decay=0.9, **options), weights, gradients[:3]
    )
    muon = om.muon(0.1, nesterov=False, momentum=0.9, shape_scale=om.shapes.RMSMatch(0.2), **options)
    theirs = harness.run(muon, weights, gradients[:3])
    for name in FEW:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5)


def test_refusals():
    with pytest.raises(ValueError, match="period"):
        om.lion_muon(0.1, period=0)
    with pytest.raises(ValueError, match="step_decay"):
        om.lion_muon(0.1, step_decay=1.0)
