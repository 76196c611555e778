"""PolarAdamW against its reference, and what it does not see."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.polar import polar
from tests.references.polar_adamw import polar_adamw as reference

SVD = om.linalg.SVDPolar()


def test_reference_in_x64():
    with jax.enable_x64(True):
        options = {"learning_rate": 0.1, "weight_decay": 0.1}
        tx = om.polar_adamw(
            orthogonalizer=SVD, momentum=0.8, second_moment_decay=0.95, leaves=harness.LEAVES, **options
        )
        harness.assert_matches(tx, functools.partial(reference, orth=polar, b1=0.8, b2=0.95, **options))


def last_update(grads, make=om.polar_adamw, **options):
    tx = make(1.0, orthogonalizer=SVD, shape_scale=om.shapes.Constant(1.0), **options)
    state, params = tx.init({"w": grads[0]}), {"w": grads[0]}
    update = jax.jit(tx.update)
    for g in grads:
        updates, state = update({"w": g}, state, params)
    return updates["w"]


def test_first_step_is_the_polar_factor_of_the_signs():
    x = jax.random.normal(jax.random.key(0), (5, 7))
    np.testing.assert_allclose(last_update([x], eps=0.0), -SVD.apply(jnp.sign(x)), atol=1e-5)


def test_scales_of_entries_make_no_difference_unlike_in_muon():
    grads = jax.random.normal(jax.random.key(0), (3, 5, 7))
    scale = jnp.exp(jax.random.normal(jax.random.key(1), (1, 5, 7)))
    np.testing.assert_allclose(last_update(grads * scale, eps=0.0), last_update(grads, eps=0.0), atol=1e-4)
    assert jnp.abs(last_update(grads * scale, om.muon) - last_update(grads, om.muon)).max() > 0.05


def test_the_spectral_norm_is_bounded():
    u = last_update(jax.random.normal(jax.random.key(0), (3, 5, 7)))
    np.testing.assert_allclose(jnp.linalg.svd(u, compute_uv=False), 1, rtol=1e-5)


def test_refusals():
    for name in ("momentum", "second_moment_decay"):
        with pytest.raises(ValueError, match=f"polar_adamw: {name}"):
            om.polar_adamw(0.02, **{name: 1.0})
