"""COSMOS against its reference, and its limits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.cosmos import cosmos as reference
from tests.state import floats_per_parameter

POLAR = om.linalg.SVDPolar()
NEWTON = om.linalg.NewtonSchulz(om.linalg.YOU_2025)


@pytest.mark.parametrize("rank", [pytest.param(3, marks=pytest.mark.slow), 100])
def test_matches_its_reference(rank):
    common = {
        "learning_rate": 0.1,
        "momentum": 0.8,
        "second_moment_decay": 0.9,
        "rank": rank,
        "gamma": 0.3,
        "ratio": 0.2,
    }
    # All of a tall factor's null space is arbitrary: the full rank is compared where outputs outnumber inputs.
    cases = {n: c for n, c in harness.CASES.items() if rank == 3 or n in ("square", "wide", "stacked", "fused")}
    with jax.enable_x64(True):
        orth = harness.numpy_map(NEWTON)
        tx = om.cosmos(orthogonalizer=NEWTON, weight_decay=0.1, leaves={n: c.leaf for n, c in cases.items()}, **common)
        harness.assert_matches(tx, functools.partial(reference, orth=orth, weight_decay=0.1, **common), cases=cases)


def test_every_update_has_the_given_rms():
    cases = {name: harness.CASES[name] for name in ("tall", "uneven")}
    _, gradients = harness.problem(np.float32, cases=cases)
    tx = om.cosmos(1.0, rank=2, ratio=0.3, leaves=harness.LEAVES)
    updates, _ = jax.jit(tx.update)(gradients[0], tx.init(gradients[0]), gradients[0])
    for name, case in cases.items():
        for u in case.matrices(np.asarray(updates[name])):
            np.testing.assert_allclose(np.sqrt(np.mean(u**2)), 0.3, rtol=1e-5)


def test_a_rest_of_rounding_is_not_blown_up():
    grads = {"w": jnp.outer(jnp.arange(1.0, 7.0), jnp.arange(1.0, 5.0))}
    tx = om.cosmos(1.0, rank=1, orthogonalizer=POLAR, leaves={"w": om.Leaf("hidden", 0, 1)})
    update, state = jax.jit(tx.update), tx.init(grads)
    for _ in range(4):
        updates, state = update(grads, state, grads)
        values = np.linalg.svd(updates["w"], compute_uv=False)
        assert values[1] < 1e-4 * values[0]
    zero, _ = update(jax.tree.map(jnp.zeros_like, grads), tx.init(grads), grads)
    assert (zero["w"] == 0).all()


def test_state_size_and_options():
    params = {"up": {"kernel": jnp.zeros((8, 12))}}
    assert floats_per_parameter(om.cosmos(0.1, rank=4), params) * 96 == 96 + 4 * (8 + 12 + 4)
    for options in ({"momentum": 1.0}, {"second_moment_decay": -1.0}, {"rank": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.cosmos(0.1, **options)
