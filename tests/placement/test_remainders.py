"""Remainders of one short side share a run where that saves one; every matrix has exactly one place."""

import jax.numpy as jnp
from hypothesis import given, settings
from hypothesis import strategies as st

from optax_muon.placement._buckets import Size, buckets
from optax_muon.placement._remainders import Placed, Span, share_remainders

F32 = jnp.dtype("float32")


def runs(shapes, devices, turn=True):
    stacks = [Size(shape, F32) for shape in shapes]
    return share_remainders(buckets(stacks, merge_transposes=False, max_bytes=1 << 40), stacks, devices, turn=turn)


def rows(made, devices):
    return sum(-(-max(part.end for part in run) // devices) for run in made)


def test_two_remainders_fill_one_place_of_every_device():
    made = runs([(12, 8, 32), (12, 32, 8)], 8)
    assert made == [
        [Placed(0, (Span(0, 0, 8),))],
        [Placed(0, (Span(1, 0, 8),))],
        [Placed(0, (Span(0, 8, 12),)), Placed(4, (Span(1, 8, 12),))],
    ]
    assert rows(runs([(12, 8, 32), (12, 32, 8)], 8, turn=False), 8) == 4


def test_nothing_is_cut_where_nothing_is_saved():
    assert runs([(12, 8, 32), (5, 8, 16)], 8) == [[Placed(0, (Span(0, 0, 12),))], [Placed(0, (Span(1, 0, 5),))]]
    assert runs([(16, 8, 32), (8, 8, 16)], 8) == [[Placed(0, (Span(0, 0, 16),))], [Placed(0, (Span(1, 0, 8),))]]
    assert rows(runs([(4, 8, 32), (4, 16, 32)], 8), 8) == 2  # short sides differ
    assert runs([(3, 0, 8)], 8) == [[Placed(0, (Span(0, 0, 3),))]]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from([4, 8, 12]), st.sampled_from([4, 8, 12])), min_size=1),
    st.sampled_from([2, 3, 8]),
    st.booleans(),
)
def test_every_matrix_has_a_place_of_its_own(shapes, devices, turn):
    made = runs(shapes, devices, turn)
    seen = sorted((p.index, i) for run in made for part in run for p in part.spans for i in range(p.start, p.stop))
    assert seen == [(k, i) for k, (count, _, _) in enumerate(shapes) for i in range(count)]
    for run in made:
        assert all(a.end == b.first for a, b in zip(run, run[1:], strict=False))
        assert len({min(shapes[p.index][1:]) for part in run for p in part.spans}) == 1
        assert len(run) == 1 or run[-1].end <= devices
    counts = {}
    for count, m, n in shapes:
        counts[m, n] = counts.get((m, n), 0) + count
    assert rows(made, devices) <= sum(-(-count // devices) for count in counts.values())
