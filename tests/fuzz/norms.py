"""Every norm: its definition, the inequalities of a norm and its dual, and its oracle, on every spectrum and size."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from tests.fuzz import spectra
from tests.fuzz.kind import Kind
from tests.norms.definitions import DEFINITIONS

CLOSE = 3e-5


class Batch(NamedTuple):
    """Pairs of matrices of one shape under one norm."""

    name: str
    shape: tuple[int, int]
    matrices: list[spectra.Matrix]


@functools.cache
def measured(name: str):
    """Compile all that is asked of a norm."""
    norm = DEFINITIONS[name].norm
    return jax.jit(lambda x, y: (norm.value(x), norm.dual(x), norm.lmo(x), norm.value(y), norm.value(x / 2 + y / 2)))


def shapes(name: str) -> list[tuple[int, int]]:
    """Shapes that a norm exists on."""
    least = DEFINITIONS[name].least
    return [
        s for s in ((6, 4), (3, 5), (3, 1), (1, 6)) if s[0] >= least[0] and s[1] >= least[1] and not s[0] % least[0]
    ]


def batches() -> st.SearchStrategy[Batch]:
    """Draw a norm, a shape and matrices."""
    return st.sampled_from(sorted(DEFINITIONS)).flatmap(
        lambda name: st.builds(Batch, st.just(name), st.sampled_from(shapes(name)), spectra.matrices())
    )


def check(batch: Batch):
    """Pair every matrix with the next one of the batch, brought to a size near its own."""
    definition = DEFINITIONS[batch.name]
    x = spectra.stack(batch.matrices, batch.shape).astype(np.float32)
    nan, zero = (spectra.kind_of(batch.matrices, kind) for kind in ("nan", "zero"))
    beside = np.roll(x.astype(np.float64) / np.array([one.scale for one in batch.matrices])[:, None, None], 1, 0)
    beside = np.where(np.isnan(beside), 1, beside) * np.array([one.scale for one in batch.matrices])[:, None, None]
    y = beside.astype(np.float32)
    value, dual, lmo, other, middle = (np.asarray(a, np.float64) for a in measured(batch.name)(x, jnp.asarray(y)))
    assert np.isnan(value[nan]).all(), "a NaN vanished from the value"
    assert np.isnan(dual[nan]).all(), "a NaN vanished from the dual"
    assert np.isnan(lmo[nan]).any((1, 2)).all(), "a NaN vanished from the oracle"
    assert not lmo[zero].any()
    good = np.flatnonzero(~nan & ~zero)
    x, y = x.astype(np.float64), y.astype(np.float64)
    assert np.isfinite(lmo[good]).all(), "finite matrices, and a step that is not"
    for i in good:
        at = f"{batch.matrices[i]} under {batch.name} {batch.shape}"
        assert np.isclose(value[i], definition.value(x[i]), rtol=CLOSE, atol=0), f"value of {at}"
        assert np.isclose(dual[i], definition.dual(x[i]), rtol=CLOSE, atol=0), f"dual of {at}"
        assert definition.value(lmo[i]) <= 1 + CLOSE, f"the step of {at} is too long"
        assert np.isclose((x[i] * lmo[i]).sum(), dual[i], rtol=10 * CLOSE, atol=0), f"the step of {at} falls short"
    pairing = np.abs((x * y).sum((1, 2)))[good]
    assert (pairing <= dual[good] * other[good] * (1 + CLOSE)).all(), f"<x, y> > dual(x) value(y): {batch[:2]}"
    assert (middle[good] <= (value[good] + other[good]) / 2 * (1 + CLOSE)).all(), f"triangle: {batch[:2]}"
    return [(batch.name, batch.shape, one) for one in batch.matrices]


KIND = Kind("norms", batches(), check, quick=2, share=0.25, minutes=8)
