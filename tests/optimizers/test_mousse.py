"""Mousse, FISMO and Shampoo against their references, and where the whitening does nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.fismo import fismo
from tests.references.mousse import mousse
from tests.references.polar import polar
from tests.references.shampoo import shampoo

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "stacked", "uneven")}
ONE = {"wide": harness.CASES["wide"]}
OPTIONS = {"learning_rate": 0.1, "momentum": 0.9, "second_moment_decay": 0.8, "weight_decay": 0.05}


@pytest.mark.parametrize("sides", ["both", *(pytest.param(x, marks=pytest.mark.slow) for x in ("output", "reduction"))])
def test_mousse_s_reference_in_x64(sides):
    options = OPTIONS | {"exponent": 0.2, "refresh_every": 4, "eps": 1e-3}
    kept = ("output", "reduction") if sides == "both" else (sides,)
    with jax.enable_x64(True):
        tx = om.mousse(orthogonalizer=SVD, leaves=harness.LEAVES, sides=sides, **options)
        harness.assert_matches(tx, functools.partial(mousse, orth=polar, sides=kept, **options), cases=FEW)


def test_fismo_s_reference_with_exact_bases_in_x64():
    with jax.enable_x64(True):
        whitening = om.linalg.KroneckerWhitening(0.8, om.linalg.Refresh(1, "decompose"), even=True)
        inside = optax.chain(optax.trace(0.9), om.transforms.apply_to_matrices(SVD, leaves=harness.LEAVES))
        tx = optax.chain(
            om.transforms.in_kronecker_metric(inside, whitening, graft=False, leaves=harness.LEAVES),
            om.transforms.scale_by_shape(om.shapes.RMSMatch(0.2), leaves=harness.LEAVES),
            optax.add_decayed_weights(0.05),
            optax.scale_by_learning_rate(0.1),
        )
        harness.assert_matches(tx, functools.partial(fismo, orth=polar, **OPTIONS), cases=ONE)


@pytest.mark.parametrize("exponent", [0.5, pytest.param(0.25, marks=pytest.mark.slow)])
def test_shampoo_s_reference_in_x64(exponent):
    options = OPTIONS | {"exponent": exponent, "eps": 1e-3, "refresh_every": 3}
    with jax.enable_x64(True):
        tx = om.shampoo(leaves=harness.LEAVES, rms=None, **options)
        harness.assert_matches(tx, functools.partial(shampoo, **options), cases=FEW)


def first(tx, x):
    return jax.jit(tx.update)({"w": x}, tx.init({"w": x}), {"w": x})[0]["w"]


def test_mousse_is_muon_without_whitening_and_keeps_the_norm_with_it():
    x = jax.random.normal(jax.random.key(0), (4, 6))
    make = functools.partial(om.mousse, -1.0, orthogonalizer=SVD, shape_scale=om.shapes.Constant(1.0))
    np.testing.assert_allclose(first(make(exponent=1e-9), x), SVD.apply(x), atol=1e-5)
    even = SVD.apply(x[:, :4])  # whose Gram matrices are I
    np.testing.assert_allclose(first(make(exponent=0.25), even), even, atol=1e-4)
    turned = first(make(exponent=0.25), x)
    np.testing.assert_allclose(jnp.linalg.norm(turned), 2.0, rtol=1e-5)
    assert jnp.abs(turned - SVD.apply(x)).max() > 0.05


def test_the_fourth_root_of_one_gradient_s_factors_is_its_polar_factor():
    x = jax.random.normal(jax.random.key(0), (5, 5))
    tx = om.shampoo(-1.0, exponent=0.25, momentum=0.0, eps=1e-7, rms=None)
    np.testing.assert_allclose(first(tx, x), SVD.apply(x), atol=1e-3)
    # Gradients of another size take the same step, in both forms.
    for exponent in (0.25, 0.5):
        tx = om.shampoo(1.0, exponent=exponent, rms=None)
        np.testing.assert_allclose(first(tx, 1e6 * x), first(tx, x), rtol=1e-3, atol=1e-4)


def test_shampoo_s_steps_have_their_rms():
    x = jax.random.normal(jax.random.key(0), (5, 3))
    np.testing.assert_allclose(jnp.sqrt(jnp.mean(first(om.shampoo(1.0), x) ** 2)), 0.2, rtol=1e-5)


def test_refusals():
    for make in (om.mousse, om.fismo, om.shampoo):
        with pytest.raises(ValueError, match=f"{make.__name__}: momentum"):
            make(0.02, momentum=1.0)
    for options in ({"decay": 1.0}, {"exponent": 0.0}, {"eps": 0.0}, {"sides": "left"}):
        with pytest.raises(ValueError, match="GramWhitening"):
            om.linalg.GramWhitening(**options)
