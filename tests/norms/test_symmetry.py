"""Rules with the symmetry of items."""

import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om

EXACT = om.linalg.SVDPolar()
RULES = ["normalized", "spectral", "normalized_then_spectral", "spectral_then_normalized"]


def step(op, x):
    return np.asarray(op.apply(jnp.asarray(x, jnp.float32), op.init(x.shape, jnp.float32))[0], np.float64)


@pytest.mark.parametrize("items", ["reduction", "output"])
@pytest.mark.parametrize("rule", RULES)
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


@pytest.mark.parametrize("rule", RULES)
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
