"""Intrinsic Muon against its references, and what each of its geometries promises."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.optimizers.test_lora_muon import fitting, stacked, walked
from tests.references import harness
from tests.references.intrinsic_muon import fixed_rank, stiefel

OPTIONS = {"learning_rate": 0.1, "momentum": 0.5}
SVD = {"orthogonalizer": om.linalg.SVDPolar()}
FEW = {name: harness.CASES[name] for name in ("tall", "stacked", "uneven")}  # other kinds are the contracts'


def test_fixed_rank_reference_in_x64():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(11, 8, 3)), rng.normal(size=(11, 3, 5))
    with jax.enable_x64(True):
        gradients = stacked([{"lora_a": x, "lora_b": y} for x, y in zip(a[1:], b[1:], strict=True)])
        tx = om.intrinsic_muon(**SVD, **OPTIONS)
        (params, _), _ = walked(tx, {"lora_a": jnp.asarray(a[0]), "lora_b": jnp.asarray(b[0])}, gradients)
        want = fixed_rank(b[0].T, a[0].T, [(y.T, x.T) for x, y in zip(a[1:], b[1:], strict=True)], **OPTIONS)
    np.testing.assert_allclose(params["lora_b"].T, want[0], atol=1e-10)
    np.testing.assert_allclose(params["lora_a"].T, want[1], atol=1e-10)


def test_stiefel_reference_in_x64():
    with jax.enable_x64(True):
        tx = om.intrinsic_muon(manifold="stiefel", leaves=harness.LEAVES, **SVD, **OPTIONS)
        harness.assert_matches(tx, functools.partial(stiefel, **OPTIONS), cases=FEW)


def test_each_factor_moves_the_product_by_the_rate():
    rng = np.random.default_rng(1)
    a, b, target = (jnp.asarray(rng.normal(size=n), jnp.float32) for n in ((7, 3), (3, 5), (7, 5)))
    _, updates, params = fitting(om.intrinsic_muon(0.1, **SVD), target, 2)(a, b)
    for i in range(2):
        for x, y in ((updates["lora_a"], params["lora_b"]), (params["lora_a"], updates["lora_b"])):
            np.testing.assert_allclose(np.linalg.norm(np.asarray(x[i]) @ np.asarray(y[i]), 2), 0.1, rtol=1e-4)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_a_stiefel_step_is_tangent_and_as_steep_as_both_parts_allow(shape):
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        w, g = (jnp.asarray(rng.normal(size=shape)) for _ in range(2))
        w = om.linalg.SVDPolar().apply(w)
        y, _, _ = om.linalg.TangentParts(om.linalg.SVDPolar()).apply(g, (), weights=w)
    w, g, y = (np.asarray(x) if shape[0] >= shape[1] else np.asarray(x).T for x in (w, g, y))
    np.testing.assert_allclose(w.T @ y + y.T @ w, 0, atol=1e-12)
    nuclear = functools.partial(np.linalg.norm, ord="nuc")
    within = w.T @ g
    np.testing.assert_allclose(np.sum(g * y), nuclear((within - within.T) / 2) + nuclear(g - w @ within), rtol=1e-10)


def test_an_unknown_manifold_is_an_error():
    with pytest.raises(ValueError, match="manifold must be 'fixed rank' or 'stiefel'"):
        om.intrinsic_muon(0.1, manifold="grassmann")
