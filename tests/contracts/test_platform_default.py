"""What a TPU or GPU computes by default, run on a CPU: every optimizer steps as it does in float32, within bounds."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.contracts.problem import build

LEAVES = {"up": {"kernel": om.Leaf("hidden", 0, 1), "bias": om.Leaf("vector")}}
QUICK = {"muon", "normuon", "scion"}
# Of a well-conditioned matrix in the Frobenius norm, after two steps: bfloat16's rounding is 2 to 4 % of a step.
BOUND = 0.06
BOUNDS = {
    # A step on the step's own error, and one that a root of its Gram matrix precedes.
    "ef_muon": 0.1,
    "ef_muon_max": 0.1,
    "fismo": 0.1,
    # Entries near zero change their signs.
    "sign_muon": 0.4,
    # Parameters run ahead of the gradient's, and rounding with them.
    "muon_igt": 0.4,
    "transported_scion": 0.4,
}
# Their loops over nothing are compiled alone.
COMPILED = {"dion2", "dion3"}


def gradients(seed):
    """Well conditioned: the rounding of tiny singular values is no part of the promise."""
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(24, 16)))[0].T * np.linspace(0.5, 1.5, 24)
    return {"up": {"kernel": jnp.asarray(matrix, jnp.float32), "bias": jnp.asarray(rng.normal(size=24), jnp.float32)}}


def last_step(card, branch):
    """The second update, its branches for a platform chosen by ``branch``."""
    # Operation by operation: the few kernels of so small a problem serve all optimizers.
    by_operation = contextlib.nullcontext() if card.name in COMPILED else jax.disable_jit()
    with pytest.MonkeyPatch.context() as patch, by_operation:
        patch.setattr(jax.lax, "platform_dependent", branch)
        tx, params = build(card, leaves=LEAVES), gradients(0)
        state = tx.init(params)
        for seed in (1, 2):
            updates, state = tx.update(gradients(seed), state, params, value=jnp.float32(1.0))
            params = jax.tree.map(jnp.add, params, updates)
        return updates["up"]


@pytest.mark.parametrize(
    "card", [pytest.param(c, id=n, marks=[] if n in QUICK else pytest.mark.slow) for n, c in om.registry.items()]
)
def test_an_accelerator_steps_as_float32_does(card):
    wide = last_step(card, lambda *args, default, cpu=None, **others: (cpu or default)(*args))
    narrow = last_step(card, lambda *args, default, **others: default(*args))
    apart = {name: jnp.linalg.norm(x - narrow[name]) / jnp.linalg.norm(x) for name, x in wide.items()}
    assert apart["bias"] <= 1e-5
    assert apart["kernel"] <= BOUNDS.get(card.name, BOUND)
    # Or the accelerator's branch was not run.
    assert apart["kernel"] > 1e-3 or card.name not in QUICK
