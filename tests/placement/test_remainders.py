"""Leftovers of one short side share slots where that saves some; every matrix stands in exactly one slot."""

import jax.numpy as jnp
from hypothesis import given, settings
from hypothesis import strategies as st

from optax_muon.placement._buckets import Stack, runs
from optax_muon.placement._remainders import Part, Piece, share_leftovers

F32 = jnp.dtype("float32")


def deals(shapes, devices, turn=True):
    stacks = [Stack(shape, F32) for shape in shapes]
    return share_leftovers(runs(stacks, merge_transposes=False, max_bytes=1 << 40), stacks, devices, turn=turn)


def slots(made, devices):
    return sum(-(-max(part.end for part in deal) // devices) for deal in made)


def test_two_leftovers_fill_one_slot_of_every_device():
    made = deals([(12, 8, 32), (12, 32, 8)], 8)
    assert made == [
        [Part(0, (Piece(0, 0, 8),))],
        [Part(0, (Piece(1, 0, 8),))],
        [Part(0, (Piece(0, 8, 12),)), Part(4, (Piece(1, 8, 12),))],
    ]
    assert slots(deals([(12, 8, 32), (12, 32, 8)], 8, turn=False), 8) == 4


def test_nothing_is_cut_where_nothing_is_saved():
    assert deals([(12, 8, 32), (5, 8, 16)], 8) == [[Part(0, (Piece(0, 0, 12),))], [Part(0, (Piece(1, 0, 5),))]]
    assert deals([(16, 8, 32), (8, 8, 16)], 8) == [[Part(0, (Piece(0, 0, 16),))], [Part(0, (Piece(1, 0, 8),))]]
    assert slots(deals([(4, 8, 32), (4, 16, 32)], 8), 8) == 2  # short sides differ
    assert deals([(3, 0, 8)], 8) == [[Part(0, (Piece(0, 0, 3),))]]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from([4, 8, 12]), st.sampled_from([4, 8, 12])), min_size=1),
    st.sampled_from([2, 3, 8]),
    st.booleans(),
)
def test_every_matrix_has_a_slot_of_its_own(shapes, devices, turn):
    made = deals(shapes, devices, turn)
    seen = sorted((p.index, i) for deal in made for part in deal for p in part.pieces for i in range(p.start, p.stop))
    assert seen == [(k, i) for k, (count, _, _) in enumerate(shapes) for i in range(count)]
    for deal in made:
        assert all(a.end == b.first for a, b in zip(deal, deal[1:], strict=False))
        assert len({min(shapes[p.index][1:]) for part in deal for p in part.pieces}) == 1
        assert len(deal) == 1 or deal[-1].end <= devices
    counts = {}
    for count, m, n in shapes:
        counts[m, n] = counts.get((m, n), 0) + count
    assert slots(made, devices) <= sum(-(-count // devices) for count in counts.values())
