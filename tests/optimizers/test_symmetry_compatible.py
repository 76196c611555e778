"""Symmetry-compatible rules against the reference, and the symmetries they are named for."""

import functools

import jax
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness, roles
from tests.references import symmetry_compatible as reference

EXACT = om.linalg.SVDPolar()
OPTIONS = {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.1}


def orth(x):
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return u @ vh


def assert_rule(cases, rule, ops, rate=1.0, key=None):
    with jax.enable_x64(True):
        rates = {key: rate} if key else {}
        tx = om.symmetry_compatible(ops=ops, rates=rates, leaves=roles.leaves(cases), **OPTIONS)
        harness.assert_matches(tx, functools.partial(reference.run, rule=rule, rate=rate, **OPTIONS), cases=cases)


def test_hidden_and_vector():
    ops = om.symmetry_ops(orthogonalizer=EXACT)
    assert_rule(harness.CASES, reference.muon_without_look_ahead(orth), ops)
    assert_rule(roles.VECTOR, lambda m: m / np.sqrt(np.mean(m**2)), ops)


RULES = {
    "normalized": (reference.row_norm,),
    "spectral": (reference.polar(orth, 0.5),),
    "normalized_then_spectral": (reference.row_norm, reference.polar(orth, 0.5)),
    "spectral_then_normalized": (reference.polar(orth, 0.5), reference.row_norm),
}


@pytest.mark.parametrize("rule", list(RULES))
def test_embedding_head_and_router(rule):
    ops = om.symmetry_ops(rule, power=0.5, orthogonalizer=EXACT)
    plain = lambda m: functools.reduce(lambda x, f: f(x), RULES[rule], m)  # noqa: E731
    assert_rule(roles.EMBEDDING, plain, ops, rate=25.0, key="embedding")
    assert_rule(roles.HEAD, reference.centered(*RULES[rule]), ops, rate=0.25, key="head")
    assert_rule(roles.ROUTER, reference.centered(*RULES[rule]), ops)


def test_gated_layers_by_path():
    up, down = om.Leaf("hidden", 0, 1), om.Leaf("hidden", 0, 1)
    cases = {
        "mlp_up": harness.Case((5, 9), up, lambda x: [x.T]),  # (in, neurons): items are outputs
        "mlp_down": harness.Case((9, 5), down, lambda x: [x]),  # (neurons, out): items are inputs
    }
    ops = om.symmetry_ops(neurons_out=["*up"], neurons_in=["*down"])
    assert_rule(cases, reference.row_norm, ops)
