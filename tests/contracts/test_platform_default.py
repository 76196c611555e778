"""What a TPU or GPU computes by default, run on a CPU: every optimizer steps as it does in float32, within bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.contracts.problem import build, extra_args

LEAVES = {"up": {"kernel": om.Leaf("hidden", 0, 1), "bias": om.Leaf("vector")}}
QUICK = {"muon", "normuon", "scion"}
# Relative, in the Frobenius norm, after two steps. Bfloat16 rounds a matrix's step by 2 to 3 %.
BOUND = 0.05
BOUNDS = {}


def gradients(seed):
    """Well conditioned: the rounding of tiny singular values is no part of the promise."""
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(24, 16)))[0].T * np.linspace(0.5, 1.5, 24)
    return {"up": {"kernel": jnp.asarray(matrix, jnp.float32), "bias": jnp.asarray(rng.normal(size=24), jnp.float32)}}


def last_step(card):
    """The second update from the same gradients."""
    tx, params = build(card, leaves=LEAVES), gradients(0)

    def run(params):
        state = tx.init(params)
        for seed in (1, 2):
            grads = gradients(seed)
            updates, state = tx.update(grads, state, params, value=jnp.float32(1.0), **extra_args(card, grads))
            params = jax.tree.map(jnp.add, params, updates)
        return updates

    return jax.jit(run)(params)


@pytest.mark.parametrize(
    "card", [pytest.param(c, id=n, marks=[] if n in QUICK else pytest.mark.slow) for n, c in om.registry.items()]
)
def test_an_accelerator_steps_as_float32_does(card, monkeypatch):
    wide = last_step(card)
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, default, **branches: default(*args))
    narrow = last_step(card)
    for a, b in zip(jax.tree.leaves(wide), jax.tree.leaves(narrow), strict=True):
        assert jnp.linalg.norm(a - b) <= BOUNDS.get(card.name, BOUND) * jnp.linalg.norm(a)
