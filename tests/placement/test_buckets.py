"""Stacks are cut, joined, divided and collected without loss; buckets keep to their bytes."""

import jax.numpy as jnp
import numpy as np

import optax_muon as om
from optax_muon.linalg import Info
from optax_muon.placement import Work
from optax_muon.placement._buckets import Mapped, Size, buckets, collect, cut, divide, join, join_in_place, take


def test_buckets_merge_transposes_and_keep_to_their_bytes():
    f32 = np.dtype(np.float32)
    stacks = [
        Size((1, 4, 8), f32),
        Size((2, 8, 4), f32),
        Size((1, 4, 8), np.dtype(np.float16)),
        Size((1, 4, 8), f32),
    ]
    together = buckets(stacks, merge_transposes=True, max_bytes=1 << 20)
    assert [[(m.index, m.transposed) for m in bucket] for bucket in together] == [
        [(0, False), (1, True), (3, False)],
        [(2, False)],
    ]
    assert len(buckets(stacks, merge_transposes=False, max_bytes=1 << 20)) == 3
    assert [len(bucket) for bucket in buckets(stacks, merge_transposes=True, max_bytes=400)] == [2, 1, 1]
    assert [len(bucket) for bucket in buckets(stacks, merge_transposes=True, max_bytes=0)] == [1, 1, 1, 1]


def test_what_stands_beside_a_matrix_goes_with_it():
    """An uneven split has two stacks, each with its own carry, key and further matrices."""
    x = jnp.arange(2.0 * 3 * 8).reshape(2, 3, 8)
    work = Work(
        x,
        om.Leaf("hidden", 1, 2, split=(2, 6)),
        carries=(jnp.asarray([0.0, 1.0]), jnp.asarray([2.0, 3.0])),
        keys=(jnp.asarray([4, 5]), jnp.asarray([6, 7])),
        others={"other": -x},
    )
    narrow, wide = cut(work)
    assert (narrow.matrices.shape, wide.matrices.shape) == ((2, 3, 2), (2, 3, 6))
    np.testing.assert_array_equal(wide.others["other"], -wide.matrices)
    np.testing.assert_array_equal(narrow.transposed.others["other"], -narrow.matrices.mT)
    one, rest = take(wide, 0, 1), take(wide, 1, 2)
    assert (one.carry.tolist(), rest.keys.tolist()) == ([2.0], [7])
    again = join([one, rest])
    np.testing.assert_array_equal(again.matrices, wide.matrices)
    assert (again.carry.tolist(), again.keys.tolist()) == ([2.0, 3.0], [6, 7])
    assert [part.keys.tolist() for part in divide(again, (1, 1))] == [[6], [7]]
    results = [Mapped(2 * stack.matrices, stack.carry + 1, Info(dual=stack.keys)) for stack in (narrow, wide)]
    done = collect(work, results)
    np.testing.assert_array_equal(done.array, 2 * x)
    assert [carry.tolist() for carry in done.carries] == [[1.0, 2.0], [3.0, 4.0]]
    assert [info.dual.tolist() for info in done.infos] == [[4, 5], [6, 7]]


def test_one_alone_is_not_copied():
    x = jnp.ones((3, 2, 2))
    assert join([x]) is x
    assert take(x, 0, 3) is x


def test_stacks_are_joined_in_place_with_zeros_between_and_behind():
    a, b = jnp.full((2, 3, 4), 5.0), jnp.full((1, 2, 4), 7.0)
    expected = np.zeros((5, 3, 4))
    expected[1:3], expected[4, :2] = 5, 7
    np.testing.assert_array_equal(join_in_place([a, b], (5, 3, 4), [1, 4]), expected)
    np.testing.assert_array_equal(join_in_place([a, a + 1], (4, 3, 4)), np.concatenate([a, a + 1]))
