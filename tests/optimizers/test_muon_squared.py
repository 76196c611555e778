"""Muon^2 against its reference, and where it is Muon."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muon_squared import muon_squared as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()


def test_reference_in_x64():
    options = {"learning_rate": 0.1, "momentum": 0.9, "second_moment_decay": 0.8, "eps": 0.1, "weight_decay": 0.05}
    few = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}
    with jax.enable_x64(True):
        tx = om.muon_squared(orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, orth=polar, **options), cases=few)


@jax.disable_jit()
def test_it_is_muon_where_the_second_moment_is_constant():
    # A signed Hadamard-like matrix: every square is the same.
    x = jnp.sign(jax.random.normal(jax.random.key(0), (5, 4)))
    tx = om.muon_squared(-1.0, orthogonalizer=SVD, shape_scale=om.shapes.Constant(1.0))
    state = tx.init({"w": x})
    for c in (0.3, 0.3):
        updates, state = tx.update({"w": c * x}, state, {"w": x})
    np.testing.assert_allclose(updates["w"], SVD.apply(x), atol=1e-5)
    uneven = x.at[0].mul(10.0)
    updates, _ = tx.update({"w": uneven}, tx.init({"w": x}), {"w": x})
    np.testing.assert_allclose(updates["w"], SVD.apply(x), atol=1e-5)  # and blind to the scale of entries at first
    assert jnp.abs(SVD.apply(uneven) - SVD.apply(x)).max() > 0.1


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="muon_squared: momentum"):
        om.muon_squared(0.02, momentum=1.0)
