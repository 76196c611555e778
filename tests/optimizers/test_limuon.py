"""LiMuon against its reference, whole and at low rank."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.limuon import limuon as reference
from tests.state import floats_per_parameter

POLAR = om.linalg.SVDPolar()
SECOND = "grads_at_previous_params"


@pytest.mark.parametrize("rank", [None, 100], ids=["whole", "all of the rank"])
def test_matches_its_reference(rank):
    options = {"learning_rate": 0.1, "momentum": 0.8, "weight_decay": 0.1}
    names = harness.CASES if rank is None else ("tall", "stacked", "convolution", "uneven")
    with jax.enable_x64(True):
        tx = om.limuon(orthogonalizer=POLAR, rank=rank, leaves=harness.LEAVES, **options)
        expected = functools.partial(reference, orth=harness.numpy_map(POLAR), **options)
        harness.assert_matches(tx, expected, cases={n: harness.CASES[n] for n in names}, extra=(SECOND,))


def test_memory_has_the_rank_and_is_near_the_best_of_it():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        low = rng.normal(size=(12, 2)) @ rng.normal(size=(2, 8)) + 1e-3 * rng.normal(size=(12, 8))
        grads = {"w": jnp.asarray(low)}
        tx = om.transforms.low_rank_storm(0.9, 2, leaves={"w": om.Leaf("hidden", 0, 1)})
        out, state = tx.update(grads, tx.init(grads), grads_at_previous_params=grads)
        np.testing.assert_array_equal(out["w"], grads["w"])
        memory = state.carries["w"][0]
        kept = (memory["left"][0] * memory["values"][0][None]) @ memory["right"][0]
        best = np.linalg.norm(np.linalg.svd(low, compute_uv=False)[2:])
        assert np.linalg.norm(kept - low) < 3 * best


def test_without_momentum_the_second_gradient_does_not_matter():
    grads = {"up": {"kernel": jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)))}}
    tx, muon = om.limuon(0.1, momentum=0.0), om.muon(0.1, momentum=0.0, shape_scale=om.shapes.Constant(1.0))
    update, state = jax.jit(tx.update), tx.init(grads)
    for _ in range(2):
        updates, state = update(grads, state, grads, grads_at_previous_params=jax.tree.map(lambda g: -g, grads))
    expected, _ = muon.update(grads, muon.init(grads), grads)
    np.testing.assert_allclose(updates["up"]["kernel"], expected["up"]["kernel"], atol=1e-6)


def test_state_sizes_and_options():
    params = {"up": {"kernel": jnp.zeros((8, 12))}}
    assert floats_per_parameter(om.limuon(0.1), params) == 1
    assert floats_per_parameter(om.limuon(0.1, rank=3), params) * 96 == 3 * (8 + 12 + 1)
    for options in ({"momentum": 1.0}, {"rank": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.limuon(0.1, **options)
