"""AdaMuon against its reference, and what it does not see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.adamuon import adamuon as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}  # other kinds are the contracts'


def test_reference_in_x64():
    options = {"learning_rate": 0.1, "momentum": 0.9, "second_moment_decay": 0.8, "eps": 1e-3, "weight_decay": 0.05}
    with jax.enable_x64(True):
        tx = om.adamuon(orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, orth=polar, **options), cases=FEW)


@jax.disable_jit()
def test_the_first_step_is_a_sign_and_every_step_has_its_rms_whatever_the_scale():
    tx = om.adamuon(1.0, orthogonalizer=SVD, weight_decay=0.0, eps=0.0)
    grads = [{"w": jax.random.normal(jax.random.key(i), (5, 3))} for i in range(3)]
    scaled = [{"w": 1e-20 * g["w"]} for g in grads]
    taken = []
    for given in (grads, scaled):
        state = tx.init(given[0])
        for i, g in enumerate(given):
            updates, state = tx.update(g, state, g)
            taken.append(updates["w"])
            np.testing.assert_allclose(jnp.sqrt(jnp.mean(updates["w"] ** 2)), 0.2, rtol=1e-5)
            if i == 0:
                np.testing.assert_allclose(jnp.abs(updates["w"]), 0.2, rtol=1e-5)
    np.testing.assert_allclose(taken[2], taken[5], atol=1e-6)
    assert jnp.abs(jnp.abs(taken[2]) - 0.2).max() > 0.01


def test_refusals():
    with pytest.raises(ValueError, match="adamuon: momentum"):
        om.adamuon(0.02, momentum=1.0)
    with pytest.raises(ValueError, match="start must be"):
        om.transforms.divide_by_gradient_rms(0.9, start="first")
