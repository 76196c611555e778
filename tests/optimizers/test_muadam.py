"""MuAdam against its reference, and what its metric promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muadam import muadam as reference
from tests.state import floats_per_parameter

POLAR = om.linalg.SVDPolar()
LEAVES = {"w": om.Leaf("hidden", 0, 1)}


@pytest.mark.parametrize("form", ["adam", "sania", "sania_damped"])
def test_matches_its_reference(form):
    common = {"learning_rate": 0.1, "momentum": 0.8, "second_moment_decay": 0.9, "form": form, "weight_decay": 0.1}
    with jax.enable_x64(True):
        tx = om.muadam(orthogonalizer=POLAR, leaves=harness.LEAVES, **common)
        harness.assert_matches(tx, functools.partial(reference, orth=harness.numpy_map(POLAR), **common))


def gradients(steps=5):
    return jnp.asarray(np.random.default_rng(0).normal(size=(steps, 6, 4)))


def run(tx, grads):
    state, update, out = tx.init({"w": grads[0]}), jax.jit(tx.update), []
    for g in grads:
        updates, state = update({"w": g}, state, {"w": g})
        out.append(updates["w"])
    return out


def test_nothing_inside_is_adam_without_its_first_bias_correction():
    with jax.enable_x64(True):
        metric = om.transforms.in_diagonal_metric(optax.identity(), 0.9)
        ours = om.transforms.with_gradients(optax.chain(optax.ema(0.8, debias=False), metric))
        adam = run(optax.scale_by_adam(0.8, 0.9), gradients())
        for t, (a, b) in enumerate(zip(run(ours, gradients()), adam, strict=True), 1):
            np.testing.assert_allclose(a, b * (1 - 0.8**t), rtol=1e-12)


def test_sania_is_indifferent_to_the_scale_of_single_entries():
    with jax.enable_x64(True):
        scale = jnp.exp(jnp.asarray(np.random.default_rng(1).normal(size=(6, 4))))
        tx = om.muadam(1.0, form="sania", eps=0.0, orthogonalizer=POLAR, leaves=LEAVES)
        # W = scale * W': gradients are multiplied by scale, and so must updates of W' be divided.
        for plain, scaled in zip(run(tx, gradients()), run(tx, gradients() * scale[None]), strict=True):
            np.testing.assert_allclose(scaled * scale, plain, rtol=1e-10)


def test_a_constant_second_moment_gives_muon_up_to_scale():
    with jax.enable_x64(True):
        signs = jnp.sign(gradients()) * 4
        tx = om.muadam(1.0, eps=0.0, orthogonalizer=POLAR, shape_scale=om.shapes.Constant(1.0), leaves=LEAVES)
        muon = om.muon(
            1.0, momentum=0.9, nesterov=False, orthogonalizer=POLAR, shape_scale=om.shapes.Constant(1.0), leaves=LEAVES
        )
        for a, b in zip(run(tx, signs), run(muon, signs), strict=True):
            np.testing.assert_allclose(a, b / 2, atol=1e-12)


def test_state_size_and_options():
    assert floats_per_parameter(om.muadam(0.1), {"up": {"kernel": jnp.zeros((4, 6))}}) == 2
    for options in ({"momentum": 1.0}, {"form": "other"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.muadam(0.1, **options)
    with pytest.raises(ValueError, match="decay"):
        om.muadam(0.1, second_moment_decay=1.0)


def test_a_phase_of_complex_gradients_turns_the_updates():
    real = gradients()
    turned = run(om.muadam(0.1, orthogonalizer=POLAR, leaves=LEAVES), (real * 1j).astype(jnp.complex64))
    for a, b in zip(turned, run(om.muadam(0.1, orthogonalizer=POLAR, leaves=LEAVES), real), strict=True):
        np.testing.assert_allclose(a, 1j * b, atol=1e-5)
