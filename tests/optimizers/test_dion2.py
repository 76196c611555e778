"""Dion2 and Dion3 against their references, and what the slices leave alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.dion2 import dion2, dion3
from tests.references.polar import polar

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("tall", "wide", "stacked", "uneven")}
OPTIONS = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05, "fraction": 0.4}


@pytest.mark.parametrize("name", ["dion2", "dion3"])
def test_reference_in_x64(name):
    expected = functools.partial({"dion2": dion2, "dion3": dion3}[name], orth=polar, **OPTIONS)
    with jax.enable_x64(True):
        tx = getattr(om, name)(orthogonalizer=SVD, leaves=harness.LEAVES, **OPTIONS)
        harness.assert_matches(tx, expected, cases=FEW)


@jax.disable_jit()
def walk(tx, gradients, params):
    state, taken = tx.init(params), []
    for g in gradients:
        updates, state = tx.update({"w": g}, state, params)
        taken.append(updates["w"])
    return taken


def test_with_all_slices_it_is_muon_on_the_heavy_ball():
    gradients = list(jax.random.normal(jax.random.key(0), (3, 5, 7)))
    params = {"w": jnp.ones((5, 7))}
    options = {"orthogonalizer": SVD, "shape_scale": om.shapes.Spectral(), "weight_decay": 0.0}
    # Muon's own average is a multiple of the heavy ball, of which the orthogonaliser sees nothing.
    whole = walk(om.muon(0.1, momentum=0.9, nesterov=False, **options), gradients, params)
    for a, b in zip(walk(om.dion2(0.1, fraction=1.0, momentum=0.9, **options), gradients, params), whole, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_other_slices_decay_alone_and_their_order_does_not_matter():
    gradients = list(jax.random.normal(jax.random.key(0), (4, 9, 6)))  # columns are the slices
    params = {"w": jax.random.normal(jax.random.key(1), (9, 6))}
    tx = om.dion2(0.1, orthogonalizer=SVD, weight_decay=0.5)
    order = jnp.array([3, 0, 5, 1, 2, 4])
    plain = walk(tx, gradients, params)
    permuted = walk(tx, [g[:, order] for g in gradients], {"w": params["w"][:, order]})
    for u, p in zip(plain, permuted, strict=True):
        np.testing.assert_allclose(u[:, order], p, atol=1e-6)
        moved = jnp.abs(u + 0.05 * params["w"]).max(axis=0) > 1e-4
        assert moved.sum() == 2  # a quarter of 6, rounded up
    used = {tuple(np.flatnonzero(jnp.abs(u + 0.05 * params["w"]).max(axis=0) > 1e-4)) for u in plain}
    assert len(used) > 1, "every slice has its turn"


def test_refusals():
    for options in ({"fraction": 0.0}, {"fraction": 1.5}, {"momentum": 1.0}):
        for make in (om.dion2, om.dion3):
            with pytest.raises(ValueError, match="fraction|momentum"):
                make(0.1, **options)
    with pytest.raises(ValueError, match="side"):
        om.linalg.HeaviestSlices(SVD, side="input")
    with pytest.raises(ValueError, match="decay"):
        om.transforms.sliced_momentum(1.5, 0.5, SVD)
