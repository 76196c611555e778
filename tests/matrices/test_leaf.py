"""The way from a parameter to stacks and back."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optax_muon as om
from optax_muon.matrices._leaf import as_matrices, matrix_shapes, restore
from tests.references.harness import CASES


@pytest.mark.parametrize("name", CASES)
def test_stacks_are_the_matrices_written_by_hand(name):
    case = CASES[name]
    x = np.random.default_rng(0).normal(size=case.shape).astype(np.float32)
    ours = [matrix for stack in as_matrices(jnp.asarray(x), case.leaf) for matrix in np.asarray(stack)]
    expected = [matrix.T for matrix in case.matrices(x)]
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.data())
def test_restore_undoes_as_matrices(data):
    ndim = data.draw(st.integers(2, 5))
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=ndim, max_size=ndim)))
    roles = data.draw(
        st.lists(st.sampled_from("bro"), min_size=ndim, max_size=ndim).filter(lambda r: {"r", "o"} <= set(r))
    )
    sides = {k: data.draw(st.permutations([i for i, r in enumerate(roles) if r == k])) for k in "ro"}
    length = int(np.prod([shape[i] for i in sides["o"]]))
    cut = data.draw(st.integers(0, length))
    split = (cut, length - cut) if data.draw(st.booleans()) else None
    leaf = om.Leaf("hidden", tuple(sides["r"]), tuple(sides["o"]), split)
    x = jnp.arange(np.prod(shape)).reshape(shape)
    stacks = as_matrices(x, leaf)
    assert tuple(stack.shape for stack in stacks) == matrix_shapes(shape, leaf)
    np.testing.assert_array_equal(restore(stacks, leaf, shape), x)


def test_split_of_the_reduction_side():
    leaf = om.Leaf("hidden", 0, 1, om.Split((2, 4), "reduction"))
    x = jnp.arange(18.0).reshape(6, 3)
    doubled = restore([stack * stack.shape[1] for stack in as_matrices(x, leaf)], leaf, x.shape)
    np.testing.assert_array_equal(doubled, jnp.concatenate([x[:2] * 2, x[2:] * 4]))
