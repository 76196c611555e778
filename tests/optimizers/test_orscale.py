"""OrScale and OrScale-LM against their reference, and what the ratio promises."""

import functools

import jax
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.orscale import orscale as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "stacked")}


@pytest.mark.parametrize("lm", [False, True], ids=["plain", "lm"])
def test_reference_in_x64(lm):
    options = {"learning_rate": 0.3, "momentum": 0.9, "weight_decay": 0.1}
    make = om.orscale_lm if lm else om.orscale
    with jax.enable_x64(True):
        tx = make(orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(
            tx, functools.partial(reference, orth=polar, lm=lm, **options), cases=harness.CASES if lm else FEW
        )


def first_updates(tx):
    weights, gradients = harness.problem(np.float32, cases=FEW)
    return weights, jax.jit(tx.update)(gradients[0], tx.init(weights), weights)[0]


def test_first_lm_step_is_that_of_muon_matched_to_adamw():
    match = om.shapes.RMSMatch(0.2)
    _, ours = first_updates(om.orscale_lm(0.1, orthogonalizer=SVD, weight_decay=0.01, leaves=harness.LEAVES))
    muon = om.muon(0.1, orthogonalizer=SVD, weight_decay=0.01, shape_scale=match, leaves=harness.LEAVES)
    _, theirs = first_updates(muon)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5, err_msg=name)


def test_relative_change_is_the_learning_rate_where_nothing_is_clipped():
    weights, updates = first_updates(
        om.orscale(0.1, min_ratio=0.0, max_ratio=1e9, orthogonalizer=SVD, leaves=harness.LEAVES)
    )
    for name, case in FEW.items():
        for w, u in zip(case.matrices(weights[name]), case.matrices(np.asarray(updates[name])), strict=True):
            np.testing.assert_allclose(np.linalg.norm(u), 0.1 * np.linalg.norm(w), rtol=1e-4)


def test_a_closed_clip_is_muon():
    options = {"orthogonalizer": SVD, "weight_decay": 0.1, "leaves": harness.LEAVES}
    _, ours = first_updates(om.orscale(0.1, min_ratio=1.0, max_ratio=1.0, **options))
    _, theirs = first_updates(om.muon(0.1, shape_scale=om.shapes.Constant(1.0), **options))
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6)
