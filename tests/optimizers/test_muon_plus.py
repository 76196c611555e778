"""Muon+ against its reference in every order of sides, and where it is Muon."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muon_plus import muon_plus as reference
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
WORDS = {"row": "output", "col": "reduction"}


@pytest.mark.parametrize(
    "mode", ["row_col", *(pytest.param(m, marks=pytest.mark.slow) for m in ("row", "col", "col_row"))]
)
def test_reference_in_x64(mode):
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05, "eps": 1e-3}
    few = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}
    with jax.enable_x64(True):
        sides = [WORDS[word] for word in mode.split("_")]
        tx = om.muon_plus(sides=sides, orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, functools.partial(reference, orth=polar, mode=mode, **options), cases=few)


@jax.disable_jit()
def first_update(x, sides):
    tx = om.muon_plus(-1.0, sides=sides, orthogonalizer=SVD, weight_decay=0.0, shape_scale=om.shapes.Constant(1.0))
    return tx.update({"w": x}, tx.init({"w": x}), {"w": x})[0]["w"]


def test_the_last_side_is_unit_and_no_side_is_muon():
    x = jax.random.normal(jax.random.key(0), (4, 7))
    np.testing.assert_allclose(first_update(x, ()), SVD.apply(x), atol=1e-6)
    np.testing.assert_allclose(jnp.linalg.norm(first_update(x, ("output", "reduction")), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(first_update(x, ("reduction", "output")), axis=0), 1, rtol=1e-5)
    # Vectors along the longer side of an orthogonal matrix are unit as they are.
    np.testing.assert_allclose(first_update(x, ("reduction",)), SVD.apply(x), atol=1e-6)
    assert jnp.abs(first_update(x, ("output",)) - SVD.apply(x)).max() > 0.1


def test_momentum_is_checked():
    with pytest.raises(ValueError, match="muon_plus: momentum"):
        om.muon_plus(0.02, momentum=1.0)
