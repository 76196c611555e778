"""KL-Shampoo against its reference, and its fixed point."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references import harness
from tests.references.kl_shampoo import kl_shampoo as reference
from tests.references.kl_shampoo import lagged
from tests.state import floats_per_parameter

WHITEN = om.linalg.KroneckerWhitening


def test_matches_its_reference_with_exact_bases():
    common = {"learning_rate": 0.1, "momentum": 0.8, "second_moment_decay": 0.9, "weight_decay": 0.1}
    with jax.enable_x64(True):
        whiten = om.transforms.apply_with_gradients(
            WHITEN(0.9, om.linalg.Refresh(1, "decompose")), leaves=harness.LEAVES
        )
        tx = optax.chain(
            om.transforms.with_gradients(optax.chain(optax.ema(0.8, debias=False), whiten)),
            optax.add_decayed_weights(0.1),
            optax.scale_by_learning_rate(0.1),
        )
        harness.assert_matches(tx, functools.partial(reference, **common))


def test_bases_that_follow_by_iteration_come_close():
    common = {"learning_rate": 0.1, "momentum": 0.8, "second_moment_decay": 0.9}
    with jax.enable_x64(True):
        cases = {"square": harness.CASES["square"]}
        tx = om.kl_shampoo(refresh_every=1, leaves={"square": cases["square"].leaf}, **common)
        harness.assert_matches(tx, functools.partial(reference, **common), cases=cases, tolerance=0.1)


# The null space of a first factor has no basis of its own: only square matrices can be compared.
FULL_RANK = {name: harness.CASES[name] for name in ("square", "fused")}


@pytest.mark.parametrize("refresh_every", [1, 3])
def test_lagged_form_matches_the_authors(refresh_every):
    common = {"learning_rate": 0.1, "momentum": 0.8, "second_moment_decay": 0.9, "weight_decay": 0.1}
    common["refresh_every"] = refresh_every
    with jax.enable_x64(True):
        tx = om.kl_shampoo(form="lagged", leaves=harness.LEAVES, **common)
        harness.assert_matches(tx, functools.partial(lagged, **common), cases=FULL_RANK)


def test_lagged_form_looks_at_the_first_gradient_only():
    rng = np.random.default_rng(0)
    first, second = ({"w": jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)} for _ in range(2))
    leaves = {"w": om.Leaf("hidden", 0, 1)}
    tx = om.kl_shampoo(1.0, form="lagged", momentum=0.5, weight_decay=0.3, leaves=leaves)
    updates, state = tx.update(first, tx.init(first), first)
    np.testing.assert_array_equal(updates["w"], 0)
    updates, state = tx.update(second, state, jax.tree.map(jnp.zeros_like, first))
    # Both factors are 0.1 I, whatever the bases are, and have not seen this gradient; nor has the momentum the first.
    np.testing.assert_allclose(updates["w"], -0.5 * second["w"] / 0.1, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="form"):
        om.kl_shampoo(1.0, form="published")


@pytest.mark.parametrize("max_side", [0, 5, 6])
def test_lagged_form_leaves_long_sides_out(max_side):
    params = {"up": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)}}
    tx = om.kl_shampoo(0.1, form="lagged", max_side=max_side)
    kept = sum(2 * n * n + n for n in (6, 4) if n <= max_side)
    assert round(floats_per_parameter(tx, params) * 24) == 24 + kept
    state, update = tx.init(params), jax.jit(tx.update)
    for _ in range(3):
        updates, state = update(params, state, params)
    assert jnp.isfinite(updates["up"]["kernel"]).all()
    assert jnp.abs(updates["up"]["kernel"]).max() > 0.01


def test_fixed_point_is_the_covariance_of_the_gradients():
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        roots = [np.linalg.qr(rng.normal(size=(n, n)))[0] * rng.uniform(0.5, 2, n) for n in (3, 4)]
        a, b = (r @ r.T for r in roots)
        q = [np.linalg.eigh(s)[1] for s in (a, b)]
        carry = {"left_factor": 5 * a, "left": q[0], "right_factor": b / 5, "right": q[1]}
        carry = {name: jnp.asarray(value)[None] for name, value in carry.items()}
        total = {name: 0.0 for name in carry}
        learn = jax.jit(lambda g: WHITEN(0.5).apply(g, carry, gradient=g)[1])
        for i in range(3):
            for j in range(4):
                # One gradient for every direction: their mean outer product is exactly A (x) B.
                z = np.zeros((3, 4))
                z[i, j] = np.sqrt(12)
                g = jnp.asarray(roots[0] @ z @ roots[1].T)[None]
                new = learn(g)
                total = {name: total[name] + new[name] / 12 for name in new}
        for name in ("left_factor", "right_factor"):
            np.testing.assert_allclose(total[name], carry[name], atol=1e-13)


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_updates_do_not_depend_on_the_size_of_gradients(size):
    grads = {"w": jnp.asarray(np.random.default_rng(1).normal(size=(6, 4)), jnp.float32)}
    tx = om.kl_shampoo(1.0, leaves={"w": om.Leaf("hidden", 0, 1)})
    update = jax.jit(tx.update)
    expected, _ = update(grads, tx.init(grads), grads)
    scaled = jax.tree.map(lambda g: g * size, grads)
    got, _ = update(scaled, tx.init(grads), grads)
    np.testing.assert_allclose(got["w"], expected["w"], rtol=1e-3, atol=1e-5)


def test_rank_one_and_zero_gradients_do_not_blow_up():
    tx = om.kl_shampoo(1.0, leaves={"w": om.Leaf("hidden", 0, 1)})
    update = jax.jit(tx.update)
    for g in (jnp.outer(jnp.arange(1.0, 7.0), jnp.ones(4)), jnp.zeros((6, 4))):
        state = tx.init({"w": g})
        for _ in range(60):
            updates, state = update({"w": g}, state, {"w": g})
        assert jnp.isfinite(updates["w"]).all()
        assert jnp.linalg.norm(updates["w"]) < 30


def test_long_sides_are_left_out():
    params = {"up": {"kernel": jnp.zeros((6, 4))}}
    assert round(floats_per_parameter(om.kl_shampoo(0.1), params) * 24) == 24 + 2 * (36 + 16)
    one_sided = om.kl_shampoo(0.1, max_side=5)
    assert round(floats_per_parameter(one_sided, params) * 24) == 24 + 2 * 16
    updates, _ = jax.jit(one_sided.update)(jax.tree.map(jnp.ones_like, params), one_sided.init(params), params)
    assert jnp.isfinite(updates["up"]["kernel"]).all()
    none = om.kl_shampoo(1.0, momentum=0.0, max_side=0)
    updates, _ = none.update(jax.tree.map(jnp.ones_like, params), none.init(params), params)
    np.testing.assert_allclose(updates["up"]["kernel"], -1)
    with pytest.raises(ValueError, match="refresh_every must be at least 1, not 0"):
        om.kl_shampoo(0.1, refresh_every=0)
