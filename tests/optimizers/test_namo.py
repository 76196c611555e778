"""NAMO and AdaGO against their references, and the numbers that they multiply by."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.adago import adago as adago_reference
from tests.references.namo import namo as namo_reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}


def test_namo_s_reference_in_x64():
    options = {"learning_rate": 0.1, "momentum": 0.9, "second_moment_decay": 0.8, "eps": 0.1, "weight_decay": 0.05}
    with jax.enable_x64(True):
        tx = om.namo(orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(namo_reference, orth=polar, **options), cases=FEW)


@pytest.mark.parametrize("clip", [12.0, pytest.param(np.inf, marks=pytest.mark.slow)])
def test_adago_s_reference_in_x64(clip):
    options = {"learning_rate": 0.1, "momentum": 0.9, "clip": clip, "floor": 0.35, "start": 2.0, "weight_decay": 0.05}
    with jax.enable_x64(True):
        tx = om.adago(orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(adago_reference, orth=polar, **options), cases=FEW)


@functools.partial(jax.jit, static_argnums=0)
def norms(tx, gradients):
    def step(state, g):
        updates, state = tx.update({"w": g}, state, {"w": g})
        # Every update is a multiple of an orthogonal matrix with three singular values.
        return state, jnp.linalg.norm(updates["w"]) / jnp.sqrt(3.0)

    return jax.lax.scan(step, tx.init({"w": gradients[0]}), gradients)[1]


def sizes(tx, gradients):
    """Spectral norms of the updates."""
    return np.asarray(norms(tx, jnp.stack(gradients)))


def draw(count, shape=(4, 3)):
    return list(jax.random.normal(jax.random.key(0), (count, *shape)))


def test_a_constant_gradient_gives_namo_muon_s_steps():
    (g,) = draw(1)
    tx = om.namo(1.0, orthogonalizer=SVD, shape_scale=om.shapes.Constant(1.0), eps=0.0)
    np.testing.assert_allclose(sizes(tx, [g] * 5), 1.0, rtol=1e-5)


def test_namo_s_factor_is_at_most_one_at_equal_decays_and_small_in_noise():
    tx = om.namo(
        1.0, orthogonalizer=SVD, momentum=0.9, second_moment_decay=0.9, shape_scale=om.shapes.Constant(1.0), eps=0.0
    )
    found = sizes(tx, draw(60))
    assert found.max() <= 1 + 1e-5
    np.testing.assert_allclose(found[30:].mean(), np.sqrt(0.1 / 1.9), rtol=0.15)


def test_adago_s_steps_fall_with_the_root_of_time():
    (g,) = draw(1)
    tx = om.adago(1.0, orthogonalizer=SVD, clip=np.inf, floor=0.0, start=0.0, momentum=0.0)
    np.testing.assert_allclose(sizes(tx, [g] * 5), 1 / np.sqrt(np.arange(1, 6)), rtol=1e-5)
    floored = om.adago(1.0, orthogonalizer=SVD, floor=0.6, start=0.0)
    np.testing.assert_allclose(sizes(floored, [g] * 4), [1.0, 0.5**0.5, 0.6, 0.6], rtol=1e-5)


def test_refusals():
    for make, options in ((om.namo, {"momentum": 1.0}), (om.adago, {"clip": 0.0}), (om.namo, {"eps": -1.0})):
        with pytest.raises(ValueError, match="momentum|clip|eps"):
            make(0.1, **options)
    for options in ({"decay": 1.0}, {"decay": 0.9, "numerator": "momentum"}):
        with pytest.raises(ValueError, match="with_gradient_scalar"):
            om.transforms.with_gradient_scalar(om.transforms.equilibrate("output"), **options)
