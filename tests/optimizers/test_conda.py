"""Conda against its reference, and against Adam where the two are the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.conda import conda as reference
from tests.state import floats_per_parameter

LEAVES = {"w": om.Leaf("hidden", 0, 1)}


@pytest.mark.parametrize("refresh_every", [4, 2000])
def test_matches_its_reference(refresh_every):
    common = {"learning_rate": 0.1, "momentum": 0.8, "second_moment_decay": 0.9, "refresh_every": refresh_every}
    common |= {"weight_decay": 0.1, "scale": 0.5}
    with jax.enable_x64(True):
        tx = om.conda(leaves=harness.LEAVES, **common)
        harness.assert_matches(tx, functools.partial(reference, **common))


def walk(tx, grads):
    """The updates of some gradients of one matrix."""
    state, update, out = tx.init({"w": grads[0]}), jax.jit(tx.update), []
    for g in grads:
        updates, state = update({"w": g}, state, {"w": g})
        out.append(np.asarray(updates["w"]))
    return out


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_in_a_fixed_basis_it_is_adam_there(shape):
    """The first gradient sets the basis for good; in its coordinates every step is Adam's, times the scale."""
    with jax.enable_x64(True):
        grads = np.random.default_rng(0).normal(size=(6, *shape))
        u, _, vh = np.linalg.svd(grads[0], full_matrices=False)
        into, back = (
            (lambda x: u.T @ x, lambda x: u @ x) if shape[0] < shape[1] else (lambda x: x @ vh.T, lambda x: x @ vh)
        )
        adam = walk(optax.adam(1.0, 0.9, 0.99, eps=0.0), [jnp.asarray(into(g)) for g in grads])
        ours = walk(om.conda(1.0, eps=0.0, leaves=LEAVES), [jnp.asarray(g) for g in grads])
        for a, b in zip(ours, adam, strict=True):
            np.testing.assert_allclose(a, 0.25 * back(b), atol=1e-10)


def test_permuted_columns_give_permuted_steps():
    with jax.enable_x64(True):
        grads = np.random.default_rng(1).normal(size=(5, 4, 9))
        order = np.random.default_rng(2).permutation(9)
        tx = om.conda(1.0, refresh_every=2, leaves=LEAVES)
        for a, b in zip(walk(tx, jnp.asarray(grads)), walk(tx, jnp.asarray(grads[:, :, order])), strict=True):
            np.testing.assert_allclose(a[:, order], b, atol=1e-10)


def test_rank_one_and_zero_gradients_stay_finite():
    tx = om.conda(1.0, leaves=LEAVES)
    for g in (jnp.outer(jnp.arange(1.0, 7.0), jnp.ones(4)), jnp.zeros((6, 4))):
        assert all(np.isfinite(u).all() and np.abs(u).max() < 1.1 for u in walk(tx, [g] * 3))


def test_state_size_and_options():
    assert floats_per_parameter(om.conda(0.1), {"up": {"kernel": jnp.zeros((8, 4))}}) == 2 + 16 / 32
    for options in ({"momentum": 1.0}, {"second_moment_decay": 1.0}, {"refresh_every": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.conda(0.1, **options)
