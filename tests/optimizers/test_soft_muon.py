"""SoftMuon against its reference, and its hard end."""

import functools

import jax
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muon import muon
from tests.references.polar import polar
from tests.references.soft_muon import soft_muon as reference

FEW = {name: harness.CASES[name] for name in ("tall", "wide", "stacked")}
LEAVES = {name: case.leaf for name, case in FEW.items()}
OPTIONS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05}


@pytest.mark.parametrize("hard_fraction", [0.5, 0.0])
def test_reference_in_x64(hard_fraction):
    weights, gradients = harness.problem(np.float64, cases=FEW)
    with jax.enable_x64(True):
        tx = om.soft_muon(
            steps=10, hard_fraction=hard_fraction, orthogonalizer=om.linalg.SVDPolar(), leaves=LEAVES, **OPTIONS
        )
        final = harness.run(tx, weights, gradients)

    def matrices(tree):
        return [m for name, case in FEW.items() for m in case.matrices(tree[name])]

    expected = reference(
        matrices(weights), [matrices(g) for g in gradients], polar, steps=10, hard=hard_fraction, **OPTIONS
    )
    for got, want in zip(matrices(final), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-10, rtol=0)
    assert any(np.abs(m).max() > 1e-2 for m in matrices({n: final[n] - weights[n] for n in FEW}))


def test_hard_to_the_end_is_muon():
    with jax.enable_x64(True):
        tx = om.soft_muon(steps=10, hard_fraction=1.0, orthogonalizer=om.linalg.SVDPolar(), leaves=LEAVES, **OPTIONS)
        expected = functools.partial(muon, orth=polar, **OPTIONS)
        harness.assert_matches(tx, expected, cases=FEW)


def test_refusals():
    for options in ({"steps": 0}, {"steps": 10, "hard_fraction": -0.5}, {"steps": 10, "momentum": 1.0}):
        with pytest.raises(ValueError, match="soft_muon|tempered"):
            om.soft_muon(0.1, **options)
    with pytest.raises(ValueError, match="for_matrices"):
        om.soft_muon(0.1, steps=10).init({"norm": {"scale": np.ones(3, np.float32)}})
