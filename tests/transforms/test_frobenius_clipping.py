"""Clipping matrix by matrix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from tests.references.harness import CASES, LEAVES


@pytest.mark.parametrize("size", [0.01, 1e30])
def test_every_matrix_has_at_most_the_norm_and_small_ones_stay(size):
    rng = np.random.default_rng(0)
    grads = {name: jnp.asarray(size * rng.normal(size=case.shape), jnp.float32) for name, case in CASES.items()}
    tx = om.transforms.clip_by_frobenius_norm(0.5, leaves=LEAVES)
    clipped, _ = jax.jit(tx.update)(grads, tx.init(grads))
    for name, case in CASES.items():
        for before, after in zip(case.matrices(np.asarray(grads[name])), case.matrices(clipped[name]), strict=True):
            norm = np.linalg.norm(before.astype(np.float64))
            np.testing.assert_allclose(after, before * min(1, 0.5 / norm), rtol=1e-5, atol=1e-30)


def test_nan_stays_in_its_matrix():
    x = jnp.ones((2, 3, 3)).at[0, 0, 0].set(jnp.nan)
    tx = om.transforms.clip_by_frobenius_norm(1.0, leaves={"w": om.Leaf("hidden", 1, 2)})
    out, _ = tx.update({"w": x}, tx.init({"w": x}))
    assert jnp.isnan(out["w"][0]).all()
    np.testing.assert_allclose(out["w"][1], 1 / 3, rtol=1e-6)


def test_maximum_must_be_positive():
    with pytest.raises(ValueError, match="maximum must be positive, not -1"):
        om.transforms.clip_by_frobenius_norm(-1)
