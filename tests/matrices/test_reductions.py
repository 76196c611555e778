"""Sums and norms of matrices where they lie, against the stacks that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import optax_muon as om
from optax_muon.matrices._leaf import as_matrices, restore
from optax_muon.matrices._reductions import (
    entries_over,
    init_state,
    map_with_state,
    norm_over,
    reduced_shape,
    sum_over,
)

pytestmark = pytest.mark.thinned(2)

CASES = {
    "plain": ((4, 6), om.Leaf("hidden", 0, 1)),
    "stacked": ((3, 4, 6), om.Leaf("hidden", -2, -1)),
    "heads": ((4, 2, 3), om.Leaf("hidden", 0, 2)),
    "fused": ((4, 6), om.Leaf("hidden", 0, 1, (2, 2, 2))),
    "uneven": ((4, 6), om.Leaf("hidden", 0, 1, (5, 1))),
    "cut inputs": ((6, 4), om.Leaf("hidden", 0, 1, om.Split((4, 2), "reduction"))),
    "cut over two axes": ((2, 4, 3), om.Leaf("hidden", 1, (2, 0), (4, 2))),
    "stacked and cut": ((2, 4, 6), om.Leaf("hidden", 1, 2, (3, 3))),
}
every_case = pytest.mark.parametrize(("shape", "leaf"), CASES.values(), ids=CASES)
AXES = {"reduction": -2, "output": -1, "both": (-2, -1)}


@every_case
@pytest.mark.parametrize("over", AXES)
def test_equals_the_reduction_of_each_stack(shape, leaf, over):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def by_stack(f):
        stacks = [np.asarray(stack) for stack in as_matrices(jnp.asarray(x), leaf)]
        spread = [np.broadcast_to(f(stack, AXES[over]), stack.shape) for stack in stacks]
        return restore([jnp.asarray(s) for s in spread], leaf, shape)

    total, norm = sum_over(jnp.asarray(x), leaf, over), norm_over(jnp.asarray(x), leaf, over)
    assert total.shape == norm.shape == reduced_shape(shape, leaf, over)
    expected = by_stack(lambda s, axis: np.sum(s, axis, keepdims=True))
    np.testing.assert_allclose(np.broadcast_to(total, shape), expected, atol=1e-5)
    expected = by_stack(
        lambda s, axis: np.sqrt(np.sum(s.astype(np.float64) ** 2, axis, keepdims=True)).astype(np.float32)
    )
    np.testing.assert_allclose(np.broadcast_to(norm, shape), expected, rtol=1e-6)
    expected = by_stack(lambda s, axis: np.sum(np.ones_like(s), axis, keepdims=True))
    np.testing.assert_array_equal(np.broadcast_to(entries_over(shape, leaf, over), shape), expected)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_norms_neither_overflow_nor_vanish(scale):
    x = jnp.array([[3.0, 4.0]]) * scale
    np.testing.assert_allclose(norm_over(x, om.Leaf("hidden", 0, 1)) / scale, [[5.0]], rtol=1e-6)
    low = norm_over(x.astype(jnp.bfloat16), om.Leaf("hidden", 0, 1))
    assert low.dtype == jnp.float32


def test_norm_of_zero_and_of_nothing():
    leaf = om.Leaf("hidden", 0, 1)
    assert norm_over(jnp.zeros((3, 2)), leaf) == 0
    assert norm_over(jnp.zeros((0, 2)), leaf, "reduction").max() == 0


def test_nan_stays_in_its_matrix():
    leaf = om.Leaf("hidden", 0, 1, (2, 2))
    x = jnp.ones((3, 4)).at[0, 0].set(jnp.nan)
    for result in (sum_over(x, leaf), norm_over(x, leaf)):
        assert jnp.isnan(result[0, :2]).all()
        assert jnp.isfinite(result[0, 2:]).all()


@pytest.mark.parametrize("spec", [P("x"), P(None, "x")])
def test_runs_where_the_parameter_lies(spec):
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    x = jax.random.normal(jax.random.key(0), (4, 6))
    for leaf in (om.Leaf("hidden", 0, 1), om.Leaf("hidden", 0, 1, (4, 2))):
        expected = [x / norm_over(x, leaf, over) for over in AXES]
        with jax.set_mesh(mesh):
            placed = jax.device_put(x, NamedSharding(mesh, spec))
            got = jax.jit(lambda x, leaf=leaf: [x / norm_over(x, leaf, over) for over in AXES])(placed)
            assert all(y.sharding.is_equivalent_to(placed.sharding, 2) for y in got)
        for a, b in zip(jax.device_get(got), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_state_stands_beside_the_tree():
    tree = {"a": {"kernel": jnp.ones((2, 2))}}
    leaves = {"a/kernel": om.Leaf("hidden", 0, 1)}
    state = init_state(lambda x, leaf: jnp.zeros([]), tree, leaves)
    updates, state = map_with_state(lambda x, leaf, m, w: (x + m + w, m + 1), tree, leaves, state, tree)
    assert updates["a"]["kernel"][0, 0] == 2
    assert state == {"a/kernel": 1}
    empty: dict = {"a": {}}
    nothing = init_state(lambda x, leaf: jnp.zeros([]), empty, {})
    assert map_with_state(lambda *args: args, empty, {}, nothing) == (empty, nothing)
