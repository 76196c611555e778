"""Every way to cut a parameter into matrices: each entry lands where its indices say, and comes back."""

import math
from typing import NamedTuple
from unittest import mock

import numpy as np
from hypothesis import strategies as st

import optax_muon as om
from optax_muon.matrices._leaf import as_matrices, matrix_shapes, restore
from tests.fuzz.kind import Kind

BATCH = 16  # entries looked up in each parameter


class Cut(NamedTuple):
    """A parameter's shape and its leaf."""

    shape: tuple[int, ...]
    reduction: tuple[int, ...]
    output: tuple[int, ...]
    sizes: tuple[int, ...] | None
    side: str


@st.composite
def cuts(draw) -> Cut:
    """Draw axes in any order, counted from either end, with or without a split."""
    ndim = draw(st.integers(2, 4))
    shape = tuple(draw(st.sampled_from((1, 2, 3, 4))) for _ in range(ndim))
    order = draw(st.permutations(range(ndim)))
    n_reduction = draw(st.integers(1, ndim - 1))
    n_output = draw(st.integers(1, ndim - n_reduction))
    flip = draw(st.booleans())
    axes = [axis - ndim if flip and i % 2 else axis for i, axis in enumerate(order)]
    reduction, output = tuple(axes[:n_reduction]), tuple(axes[n_reduction : n_reduction + n_output])
    side = draw(st.sampled_from(("output", "reduction")))
    length = math.prod(shape[axis] for axis in (output if side == "output" else reduction))
    sizes = None
    if draw(st.booleans()):
        bounds = draw(st.sets(st.integers(1, length - 1), max_size=2)) if length > 1 else set()
        edges = [0, *sorted(bounds), length]
        sizes = tuple(b - a for a, b in zip(edges, edges[1:], strict=False))
    return Cut(shape, reduction, output, sizes, side)


def check(cut: Cut):
    """Look some entries up, and undo the cut, in NumPy: every case has shapes of its own, and would be compiled."""
    with mock.patch("optax_muon.matrices._leaf.jnp", np):
        return checked(cut)


def checked(cut: Cut):
    """Compare with indices worked out by hand."""
    leaf = om.Leaf("hidden", cut.reduction, cut.output, None if cut.sizes is None else om.Split(cut.sizes, cut.side))
    leaf.check("x", cut.shape)
    x = np.arange(math.prod(cut.shape), dtype=np.float32).reshape(cut.shape)
    stacks = as_matrices(x, leaf)
    assert tuple(s.shape for s in stacks) == matrix_shapes(cut.shape, leaf)
    np.testing.assert_array_equal(restore(stacks, leaf, cut.shape), x)
    rng = np.random.default_rng(0)
    for _ in range(BATCH):
        index = tuple(int(rng.integers(n)) for n in cut.shape)
        assert float(np.asarray(stacks[(at := place(index, cut, leaf))[0]])[at[1]]) == x[index], (index, at)
    return [cut]


def place(index: tuple[int, ...], cut: Cut, leaf: om.Leaf) -> tuple[int, tuple[int, int, int]]:
    """Say in which stack, and where in it, an entry belongs: mixed radix numbers of its indices."""

    def number(axes) -> int:
        n = 0
        for axis in axes:
            n = n * cut.shape[axis] + index[axis]
        return n

    at = [number(leaf.batch(len(index))), number(cut.reduction), number(cut.output)]
    if cut.sizes is None:
        return 0, tuple(at)
    side = 2 if cut.side == "output" else 1
    ends = np.cumsum(cut.sizes)
    piece = int(np.searchsorted(ends, at[side], side="right"))
    at[side] -= int(ends[piece]) - cut.sizes[piece]
    if len(set(cut.sizes)) == 1:
        return 0, (at[0] * len(cut.sizes) + piece, at[1], at[2])
    return piece, tuple(at)


KIND = Kind("leaves", cuts(), check, quick=60, share=0.03, minutes=1)
