"""Stacks of matrices: no batches, the same numbers as one by one, order, and parts of any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import optax_muon as om
from optax_muon.linalg._map_stack import after, map_stack, split_stack

OP = om.linalg.NewtonSchulz(om.linalg.JORDAN_2024)


def test_nothing_is_batched():
    for count in (1, 4):
        stack = jax.ShapeDtypeStruct((count, 8, 16), jnp.float32)
        assert "batching_dims = [0]" not in jax.jit(lambda x: map_stack(OP, x)[0]).lower(stack).as_text()


@pytest.mark.parametrize("previous", [0.0, -1.0, np.nan, np.inf, 1e-45])
def test_order_changes_nothing(previous):
    x = jnp.asarray([[1.0, np.nan], [np.inf, -0.0]])
    for dtype in (jnp.float32, jnp.bfloat16):
        got = jax.jit(after)(x.astype(dtype), jnp.full((2, 2), previous, dtype))
        np.testing.assert_array_equal(got.astype(jnp.float32), x)
    assert after(x, None) is x


def test_stacks_of_any_size_agree_with_single_matrices():
    rng = np.random.default_rng(0)
    for count in (1, 2, 7):
        x = jnp.asarray(rng.normal(size=(count, 4, 6)), jnp.float32)
        for reuse in (False, True):
            got = map_stack(OP, x, reuse=reuse)[0]
            np.testing.assert_allclose(got, jnp.stack([OP.apply(m) for m in x]), atol=1e-6)


def test_a_stack_splits_into_any_sizes():
    x = jnp.arange(24.0).reshape(12, 2, 1)
    for sizes in ((12,), (5, 7), (1,) * 12, (2, 1, 1, 1, 1, 1, 1, 1, 3)):
        got = jax.jit(split_stack, static_argnums=1)(x, sizes)
        assert [len(part) for part in got] == list(sizes)
        np.testing.assert_array_equal(jnp.concatenate(got), x)
        nothing = jax.jit(split_stack, static_argnums=1)(jnp.full_like(x, jnp.nan), sizes)
        assert all(bool(jnp.isnan(part).all()) for part in nothing)
