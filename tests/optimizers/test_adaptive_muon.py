"""Adaptive Muon and its relatives for other blocks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_muon as om
from tests.references import harness
from tests.references.adaptive_muon import adaptive_muon

RATE = {"learning_rate": 0.3, "momentum": 0.7, "start": 0.2, "weight_decay": 0.05}


def test_reference_in_x64():
    with jax.enable_x64(True):
        tx = om.adaptive_muon(leaves=harness.LEAVES, **RATE)
        harness.assert_matches(tx, functools.partial(adaptive_muon, **RATE))


def test_first_step_is_muon_s_and_a_constant_gradient_s_fall_as_a_root():
    g = {"up": {"kernel": jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)}}
    tx = om.adaptive_muon(1.0)

    @jax.jit
    def walk(g):
        state, seen = tx.init(g), []
        for _ in range(4):
            updates, state = tx.update(g, state, g)
            seen.append(updates["up"]["kernel"])
        return jnp.stack(seen), om.linalg.SVDPolar().apply(g["up"]["kernel"])

    steps, polar = walk(g)
    for t in (1, 4):
        np.testing.assert_allclose(steps[t - 1], -polar / np.sqrt(t), atol=1e-5)


def test_the_family_s_other_members_are_parts_that_exist():
    """The recipe of docs/recipes.md: AdaNorm is G over the root of the sum of |G|^2, and a block has its own sum."""
    adanorm = om.transforms.with_gradient_scalar(om.transforms.scale_by_lmo(om.norms.Frobenius()), None)
    adagrad = optax.scale_by_rss(initial_accumulator_value=0.0, eps=0.0)
    labels = {"up": "norm", "down": "entries"}
    tx = optax.multi_transform({"norm": adanorm, "entries": adagrad}, labels)
    rng = np.random.default_rng(1)
    grads = [{"up": {"kernel": rng.normal(size=(3, 4))}, "down": {"kernel": rng.normal(size=(4, 2))}} for _ in range(3)]
    state = tx.init(grads[0])
    for g in grads:
        updates, state = tx.update(g, state, g)
    up, down = ([g[name]["kernel"] for g in grads] for name in ("up", "down"))
    np.testing.assert_allclose(updates["up"]["kernel"], up[-1] / np.sqrt(sum(np.sum(g**2) for g in up)), rtol=1e-5)
    np.testing.assert_allclose(updates["down"]["kernel"], down[-1] / np.sqrt(sum(g**2 for g in down)), rtol=1e-5)
