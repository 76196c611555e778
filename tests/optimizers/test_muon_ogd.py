"""Muon-OGD against its reference, where it is Muon, what it protects, and subspaces from activations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.muon_ogd import muon_ogd as reference

SVD = om.linalg.SVDPolar()
FEW = {name: harness.CASES[name] for name in ("wide", "tall", "uneven", "stacked")}


def basis(length, rank=2):
    return np.linalg.qr(np.random.default_rng(length).normal(size=(length, rank)))[0]


def test_reference_in_x64():
    options = {"learning_rate": 0.1, "momentum": 0.5, "dual_steps": 3, "dual_rate": 0.2, "weight_decay": 0.05}

    def by_shape(w, gradients):
        return reference(w, gradients, inputs=basis(w.shape[1]), outputs=basis(w.shape[0], 3), **options)

    with jax.enable_x64(True):
        old = om.linalg.Interference(basis, functools.partial(basis, rank=3))
        tx = om.muon_ogd(subspaces={"*": old}, orthogonalizer=SVD, leaves=harness.LEAVES, **options)
        harness.assert_matches(tx, by_shape, cases=FEW)


@jax.disable_jit()
def test_without_protection_it_is_muon_and_old_outputs_stay_with_it():
    params = {"old": jnp.zeros((8, 5)), "free": jnp.zeros((8, 5))}
    leaves = {name: om.Leaf("hidden", 0, 1) for name in params}
    grads = {"old": jax.random.normal(jax.random.key(0), (8, 5)), "free": jax.random.normal(jax.random.key(1), (8, 5))}
    v = basis(8)

    def once(tx, steps=1):
        state = tx.init(params)
        for _ in range(steps):
            updates, state = tx.update(grads, state, params)
        return updates

    exact = {"orthogonalizer": SVD, "leaves": leaves}
    muon = once(om.muon(1.0, momentum=0.0, nesterov=False, shape_scale=om.shapes.Constant(1.0), **exact))
    nothing = om.linalg.Interference(np.zeros((8, 0)))
    for subspaces in ({}, {"*": nothing}):
        found = once(om.muon_ogd(1.0, subspaces=subspaces, **exact))
        for name in params:
            np.testing.assert_allclose(found[name], muon[name], atol=1e-5)
    kept = om.muon_ogd(1.0, subspaces={"old": om.linalg.Interference(v)}, dual_rate=0.1, **exact)
    found = once(kept, steps=30)
    np.testing.assert_allclose(found["free"], muon["free"], atol=1e-5)
    assert np.abs(v.T @ muon["old"]).max() > 0.1
    np.testing.assert_allclose(v.T @ found["old"], 0, atol=1e-4)
    np.testing.assert_allclose(found["old"], -SVD.apply(grads["old"] - v @ (v.T @ grads["old"])), atol=1e-3)


def test_subspaces_of_activations_and_what_does_not_fit():
    params = {"up": {"kernel": jnp.zeros((6, 4))}}
    x = np.random.default_rng(0).normal(size=(50, 2)) @ np.random.default_rng(1).normal(size=(2, 6))
    old = om.protected(params, {"up/kernel": jnp.asarray(x, jnp.float32)}, rank=4)
    v = np.asarray(old["up/kernel"].inputs)
    assert v.shape == (6, 2)  # the inputs have no more directions
    np.testing.assert_allclose(x @ v @ v.T, x, atol=1e-4)
    for wrong, message in (({"down": x}, "down is no parameter"), ({"up/kernel": x[:, :5]}, r"up/kernel has shape")):
        with pytest.raises(ValueError, match=message):
            om.protected(params, wrong, rank=1)
    for key, message in (("up/*", r"inputs have shape \(5, 2\)"), ("down/*", "'down/.' matches no hidden matrix")):
        with pytest.raises(ValueError, match=message):
            om.muon_ogd(0.1, subspaces={key: om.linalg.Interference(basis(5))}).init(params)
    with pytest.raises(ValueError, match="for_matrices"):
        om.muon_ogd(0.1, subspaces={}).init({"norm": {"scale": jnp.ones(3)}})


def test_an_old_task_is_kept_where_muon_forgets_it():
    """A linear layer with old inputs in two of ten dimensions."""
    rng = np.random.default_rng(0)
    v = basis(10)
    old = jnp.asarray(rng.normal(size=(40, 2)) @ v.T, jnp.float32)
    new, target = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((60, 10), (10, 6)))
    start = jnp.asarray(rng.normal(size=(10, 6)), jnp.float32)

    def forgotten(tx):
        @jax.jit
        def run():
            def step(carry, _):
                w, state = carry
                grads = {"w": new.T @ (new @ (w["w"] - target)) / 60}
                updates, state = tx.update(grads, state, w)
                return (optax.apply_updates(w, updates), state), None

            w = {"w": start}
            return jax.lax.scan(step, (w, tx.init(w)), None, 60)[0][0]["w"]

        w = run()
        return jnp.mean((old @ (w - start)) ** 2), jnp.mean((new @ (w - target)) ** 2)

    rate = optax.linear_schedule(0.1, 0.0, 60)
    lost, gained = forgotten(om.muon_ogd(rate, subspaces={}, orthogonalizer=SVD))
    kept, still = forgotten(om.muon_ogd(rate, subspaces={"w": om.linalg.Interference(v)}, orthogonalizer=SVD))
    assert kept < 0.05 * lost
    assert still > gained  # the price
