"""SOAP against its reference, and what its bases promise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.soap import soap as reference
from tests.state import floats_per_parameter

# A basis of a factor's null space is arbitrary: only cases whose first factor has full rank can be compared.
FULL_RANK = {8: ["square", "wide", "tall", "stacked", "convolution", "heads", "fused"], 6: ["uneven"]}


@pytest.mark.parametrize("max_side", [8, 6])
def test_matches_its_reference(max_side):
    cases = {name: harness.CASES[name] for name in FULL_RANK[max_side]}
    leaves = {name: case.leaf for name, case in cases.items()}
    common = {"learning_rate": 0.05, "momentum": 0.9, "second_moment_decay": 0.95, "weight_decay": 0.1}
    basis = {"decay": 0.9, "refresh_every": 3, "max_side": max_side}
    with jax.enable_x64(True):
        tx = om.soap(basis=om.linalg.EigenBasis(**basis), eps=1e-30, leaves=leaves, **common)
        harness.assert_matches(tx, functools.partial(reference, **common, **basis), cases=cases)


def one(tx, grads, params, steps=4):
    state, update, out = tx.init(params), jax.jit(tx.update), []
    for i in range(steps):
        updates, state = update(jax.tree.map(lambda g, i=i: g[i], grads), state, params)
        out.append(updates)
    return out, state


LEAVES = {"w": om.Leaf("hidden", 0, 1)}
GRADS = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 4)), jnp.float32)}
PARAMS = {"w": jnp.ones((6, 4))}


def test_first_update_is_zero_with_decay_too():
    updates, _ = one(om.soap(0.1, weight_decay=0.1, leaves=LEAVES), GRADS, PARAMS)
    assert (updates[0]["w"] == 0).all()
    assert jnp.abs(updates[1]["w"]).min() > 0


def test_identity_bases_give_adamw():
    tx = om.soap(0.1, basis=om.linalg.IdentityBasis(), skip_first=False, weight_decay=0.1, leaves=LEAVES)
    ours, _ = one(tx, GRADS, PARAMS)
    theirs, _ = one(optax.adamw(0.1, b1=0.95, b2=0.95, weight_decay=0.1), GRADS, PARAMS)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a["w"], b["w"], rtol=1e-6)


def test_random_bases_are_adam_in_other_coordinates():
    with jax.enable_x64(True):
        grads, params = jax.tree.map(lambda x: x.astype(jnp.float64), (GRADS, PARAMS))
        basis = om.linalg.RandomBasis(3)
        q = basis.init((6, 4), jnp.float64)
        for side in q.values():
            np.testing.assert_allclose(side @ side.T, np.eye(len(side)), atol=1e-14)
        ours, _ = one(om.soap(0.1, basis=basis, skip_first=False, leaves=LEAVES), grads, params)
        turned = {"w": jnp.einsum("ji,tjk,kl->til", q["left"], grads["w"], q["right"])}
        adam, _ = one(optax.adam(0.1, b1=0.95, b2=0.95), turned, params)
        for a, b in zip(ours, adam, strict=True):
            np.testing.assert_allclose(a["w"], q["left"] @ b["w"] @ q["right"].T, atol=1e-12)


def test_turning_the_problem_turns_the_updates():
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        u, v = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
        grads = {"w": jnp.asarray(rng.normal(size=(6, 4, 4)))}
        turned = {"w": jnp.asarray(u @ np.asarray(grads["w"]) @ v.T)}
        tx = om.soap(0.1, basis=om.linalg.EigenBasis(refresh_every=2), leaves=LEAVES)
        a, _ = one(tx, grads, {"w": jnp.eye(4)}, 6)
        b, _ = one(tx, turned, {"w": jnp.eye(4)}, 6)
        for x, y in zip(a, b, strict=True):
            np.testing.assert_allclose(u @ np.asarray(x["w"]) @ v.T, y["w"], atol=1e-11)


def test_momentum_is_re_expressed_when_the_bases_turn():
    with jax.enable_x64(True):
        grads = {"w": jnp.asarray(np.random.default_rng(2).normal(size=(6, 4, 4)))}
        basis = om.linalg.EigenBasis(refresh_every=2)
        tx = om.transforms.rotated(optax.ema(0.9, debias=False), basis, leaves=LEAVES)
        _, state = one(tx, grads, {"w": jnp.eye(4)}, 6)
        bases = state.bases.carries["w"][0]
        back = bases["left"][0] @ state.inner.ema["w"] @ bases["right"][0].T
        plain = sum(0.1 * 0.9 ** (5 - i) * grads["w"][i] for i in range(6))
        np.testing.assert_allclose(back, plain, atol=1e-13)


def test_rank_one_and_zero_gradients_stay_finite():
    rank_one = jnp.broadcast_to(jnp.outer(jnp.arange(6.0), jnp.ones(4)), (4, 6, 4))
    for grads in ({"w": rank_one}, {"w": jnp.zeros((4, 6, 4))}, {"w": 1e-30 * GRADS["w"]}):
        updates, _ = one(om.soap(0.1, basis=om.linalg.EigenBasis(refresh_every=1), leaves=LEAVES), grads, PARAMS)
        for u in updates:
            assert jnp.isfinite(u["w"]).all()
            # In a null space rounding decides, so a machine's steps are its own; over eps they would be 1e7.
            assert jnp.abs(u["w"]).max() <= 10.0


def test_state_sizes_and_options():
    params = {"up": {"kernel": jnp.zeros((6, 4))}}
    assert floats_per_parameter(om.soap(0.1), params) * 24 == 2 * 24 + 2 * (6**2 + 4**2)
    one_sided = om.soap(0.1, basis=om.linalg.EigenBasis(max_side=5))
    assert round(floats_per_parameter(one_sided, params) * 24) == 2 * 24 + 2 * 4**2
    for options in ({"decay": 1.0}, {"refresh_every": 0}, {"max_side": -1}, {"method": "other"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            om.linalg.EigenBasis(**options)
    with pytest.raises(ValueError, match="second_moment_decay"):
        om.soap(0.1, second_moment_decay=1.0)
