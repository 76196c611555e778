"""Axes of stacked layers found from shapes alone: right, or said to be assumed; never wrong in silence."""

import random

from optax_muon.matrices.flax._stacked_axes import candidates, choose_axes


def insert(inner, axis, length):
    """Shape with a new axis, and where that is counted from the front."""
    at = axis if axis >= 0 else len(inner) + 1 + axis
    return (*inner[:at], length, *inner[at:]), at


def made_up(rng):
    """Two stacks of layers, each along an axis of its own, of lengths that agree by chance more often than not."""
    shapes, possible, truth = {}, {}, {}
    for group in ("a", "b"):
        count, axis = rng.choice((2, 3, 4)), rng.choice((0, 1, -1))
        experts, inside = rng.choice((2, 3, 5)), rng.choice((0, 1, -1))
        for module in ("first", "second", "experts"):
            width = rng.choice((2, 3, 4)), rng.choice((2, 3, 4))
            for name, inner in (("kernel", width), ("bias", width[1:])):
                if name == "bias" and rng.random() < 0.3:
                    continue
                path, shape, new = f"{group}/{module}/{name}", inner, ()
                if module == "experts":
                    shape, at = insert(shape, inside, experts)
                    new = (at,)
                shape, at = insert(shape, axis, count)
                truth[path] = tuple(sorted((*(a + (at <= a) for a in new), at)))
                shapes[path], possible[path] = shape, candidates(shape, inner)
    return shapes, possible, truth


def test_never_wrong_in_silence():
    rng, settled, guessed = random.Random(0), 0, 0
    for _ in range(1500):
        shapes, possible, truth = made_up(rng)
        for path, (axes, assumed) in choose_axes(shapes, possible).items():
            assert assumed or axes == truth[path], (shapes, path)
            settled, guessed = settled + (not assumed), guessed + assumed
    assert settled > 1.5 * guessed


def test_distinct_lengths_leave_no_doubt():
    shapes = {"a/kernel": (7, 4, 8), "b/kernel": (4, 8, 7), "c/lora": (5, 7, 4, 2)}
    inner = {"a/kernel": (4, 8), "b/kernel": (4, 8), "c/lora": (4, None)}
    found = choose_axes(shapes, {path: candidates(shapes[path], inner[path]) for path in shapes})
    assert found == {"a/kernel": ((0,), False), "b/kernel": ((2,), False), "c/lora": ((0, 1), False)}
    assert candidates((4, 9), (4, 8)) == candidates((4,), (4, 8)) == []
