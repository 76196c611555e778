"""One root mean square for every matrix, and gradients shown to a chain."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import optax_muon as om
from tests.references.harness import CASES, LEAVES


@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_every_matrix_gets_the_rms(size):
    rng = np.random.default_rng(0)
    updates = {name: jnp.asarray(size * rng.normal(size=case.shape), jnp.float32) for name, case in CASES.items()}
    tx = om.transforms.scale_to_rms(0.2, leaves=LEAVES)
    scaled, _ = jax.jit(tx.update)(updates, optax.EmptyState())
    for name, case in CASES.items():
        for before, after in zip(case.matrices(np.asarray(updates[name])), case.matrices(scaled[name]), strict=True):
            np.testing.assert_allclose(np.sqrt(np.mean(np.square(after))), 0.2, rtol=1e-5)
            np.testing.assert_allclose(
                after / np.linalg.norm(after), before / size / np.linalg.norm(before / size), atol=1e-5
            )
    zeros = jax.tree.map(jnp.zeros_like, updates)
    assert all((x == 0).all() for x in jax.tree.leaves(tx.update(zeros, optax.EmptyState())[0]))


def test_members_of_a_chain_see_the_raw_gradients():
    def difference(updates, state, params=None, *, gradients, **extra_args):
        return jax.tree.map(lambda u, g: u - g, updates, gradients), state

    behind = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), difference)
    tx = om.transforms.with_gradients(optax.chain(optax.scale(3.0), behind))
    updates, _ = tx.update({"w": jnp.ones(2)}, tx.init({"w": jnp.ones(2)}))
    np.testing.assert_array_equal(updates["w"], 2.0)


def test_size_must_be_positive():
    with pytest.raises(ValueError, match="rms must be positive, not 0"):
        om.transforms.scale_to_rms(0)
