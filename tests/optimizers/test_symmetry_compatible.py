"""Symmetry-compatible rules against the reference, and the symmetries they are named for."""

import functools

import jax
import jax.numpy as jnp
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


def assert_rule(cases, rule, rules, rate=1.0, key=None):
    with jax.enable_x64(True):
        rates = {key: rate} if key else {}
        tx = om.symmetry_compatible(rules=rules, rates=rates, leaves=roles.leaves(cases), **OPTIONS)
        harness.assert_matches(tx, functools.partial(reference.run, rule=rule, rate=rate, **OPTIONS), cases=cases)


def test_hidden_and_vector():
    rules = om.symmetry_rules(orthogonalizer=EXACT)
    assert_rule(harness.CASES, reference.muon_without_look_ahead(orth), rules)
    assert_rule(roles.VECTOR, lambda m: m / np.sqrt(np.mean(m**2)), rules)


RULES = {
    "normalized": (reference.row_norm,),
    "spectral": (reference.polar(orth, 0.5),),
    "normalized_then_spectral": (reference.row_norm, reference.polar(orth, 0.5)),
    "spectral_then_normalized": (reference.polar(orth, 0.5), reference.row_norm),
}


@pytest.mark.parametrize("rule", list(RULES))
def test_embedding_head_and_router(rule):
    rules = om.symmetry_rules(rule, power=0.5, orthogonalizer=EXACT)
    plain = lambda m: functools.reduce(lambda x, f: f(x), RULES[rule], m)  # noqa: E731
    assert_rule(roles.EMBEDDING, plain, rules, rate=25.0, key="embedding")
    assert_rule(roles.HEAD, reference.centered(*RULES[rule]), rules, rate=0.25, key="head")
    assert_rule(roles.ROUTER, reference.centered(*RULES[rule]), rules)


def test_gated_layers_by_path():
    up, down = om.Leaf("hidden", 0, 1), om.Leaf("hidden", 0, 1)
    cases = {
        "mlp_up": harness.Case((5, 9), up, lambda x: [x.T]),  # (in, neurons): items are outputs
        "mlp_down": harness.Case((9, 5), down, lambda x: [x]),  # (neurons, out): items are inputs
    }
    rules = om.symmetry_rules(neurons_out=["*up"], neurons_in=["*down"])
    assert_rule(cases, reference.row_norm, rules)


def step(op, x):
    return np.asarray(op.apply(jnp.asarray(x, jnp.float32), op.init(x.shape, jnp.float32))[0], np.float64)


@pytest.mark.parametrize("items", ["reduction", "output"])
@pytest.mark.parametrize("rule", list(RULES))
def test_commutes_with_permuting_items_and_rotating_their_vectors(rule, items):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 5))  # items first
    permutation, rotation = rng.permutation(8), np.linalg.qr(rng.normal(size=(5, 5)))[0]
    turn = (lambda a: a) if items == "reduction" else np.transpose
    op = om.norms.equivariant(items, rule, orthogonalizer=EXACT)
    moved = turn(step(op, turn(x[permutation] @ rotation)))
    np.testing.assert_allclose(moved, turn(step(op, turn(x)))[permutation] @ rotation, atol=2e-4)
    if "normalized" in rule:
        mixed = np.linalg.qr(rng.normal(size=(8, 8)))[0]
        rotated = turn(step(op, turn(mixed @ x)))
        assert np.abs(rotated - mixed @ turn(step(op, turn(x)))).max() > 0.1, "items must not mix"


@pytest.mark.parametrize("rule", list(RULES))
def test_centred_rules_ignore_a_shift_and_make_none(rule):
    x = np.random.default_rng(0).normal(size=(5, 8))
    op = om.norms.equivariant("output", rule, centered=True, orthogonalizer=EXACT)
    d = step(op, x)
    np.testing.assert_allclose(d.sum(axis=1), 0, atol=1e-4)
    np.testing.assert_allclose(step(op, x + np.arange(5.0)[:, None]), d, atol=1e-4)


def test_lengths_and_the_nuclear_scale():
    x = np.random.default_rng(0).normal(size=(8, 5))
    for rule in ("normalized", "spectral_then_normalized"):
        d = step(om.norms.equivariant("reduction", rule, orthogonalizer=EXACT), x)
        np.testing.assert_allclose(np.linalg.norm(d, axis=1), 1, rtol=1e-5)
    for power in (0.0, 0.5, 1.0):
        d = step(om.norms.equivariant("reduction", "spectral", power=power, orthogonalizer=EXACT), x)
        nuclear = np.linalg.svd(x, compute_uv=False).sum()
        np.testing.assert_allclose(np.sum(x * d), nuclear ** (1 + power), rtol=1e-5)


def test_tokens_that_did_not_occur_stay():
    x = np.random.default_rng(0).normal(size=(8, 5))
    x[3] = 0
    assert not step(om.norms.equivariant("reduction"), x)[3].any()


@pytest.mark.parametrize("rule", ["rows", "normalized_then_normalized", "spectral_then_", ""])
def test_unknown_rules_are_refused(rule):
    with pytest.raises(ValueError, match="unknown rule"):
        om.norms.equivariant("output", rule)
    with pytest.raises(ValueError, match="axis"):
        om.norms.equivariant("rows")


def test_center_is_a_projection_and_refuses_integers():
    center = om.linalg.Center("output")
    x = np.random.default_rng(0).normal(size=(4, 6))
    once = step(center, x)
    np.testing.assert_allclose(step(center, once), once, atol=1e-6)
    assert center.apply(jnp.zeros((0, 3)), ())[0].shape == (0, 3)
    with pytest.raises(TypeError, match="int32"):
        center.apply(jnp.ones((2, 3), jnp.int32), ())
