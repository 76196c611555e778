"""Matrices whose spectra and sizes gradients have, and should not have but do."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

SHAPES = ((3, 5), (5, 3), (4, 4), (1, 6), (2, 12))  # few, so that programs are reused; the last long enough for Gram


class Matrix(NamedTuple):
    """A matrix in words; equal words give equal matrices."""

    spectrum: str
    scale: float
    seed: int


def rank_one(rng, m, n):
    return np.outer(rng.normal(size=m), rng.normal(size=n))


def signs(rng, m, n):
    return np.sign(rng.normal(size=(m, n)))


def ones(rng, m, n):
    return np.ones((m, n))


def repeated(rng, m, n):
    """All singular values equal."""
    q = np.linalg.qr(rng.normal(size=(max(m, n), min(m, n))))[0]
    return q if m >= n else q.T


def spiked(rng, m, n):
    return rank_one(rng, m, n) + 10.0 ** rng.uniform(-6, -1) * rng.normal(size=(m, n))


def decaying(rng, m, n):
    k = min(m, n)
    u, v = (np.linalg.qr(rng.normal(size=(side, k)))[0] for side in (m, n))
    return (u * 10.0 ** (-rng.uniform(0, 6) * np.arange(k) / max(k - 1, 1))) @ v.T


def mixed(rng, m, n):
    """Rows of sizes from 1e-6 to 1, as of neurons that hardly learn."""
    return rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-6, 0, (m, 1))


def sparse(rng, m, n):
    return rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.3)


def broken(rng, m, n):
    """One entry that is no number."""
    x = rng.normal(size=(m, n))
    x[rng.integers(m), rng.integers(n)] = np.nan
    return x


SPECTRA: dict[str, Callable[..., np.ndarray]] = {
    "gaussian": lambda rng, m, n: rng.normal(size=(m, n)),
    "zero": lambda rng, m, n: np.zeros((m, n)),
    "rank one": rank_one,
    "ones": ones,
    "signs": signs,
    "repeated": repeated,
    "spiked": spiked,
    "decaying": decaying,
    "mixed": mixed,
    "sparse": sparse,
    "nan": broken,
}
SCALES = (1.0, 1e-3, 1e3, 1e-12, 1e12, 1e-20, 1e20, 1e-30, 1e30)


def matrices(scales=SCALES) -> st.SearchStrategy[list[Matrix]]:
    """Draw a batch: every spectrum at every scale, from random numbers of its own.

    One number is drawn a batch, since a case has to cost microseconds; a failure names its matrix.
    """

    def of(seed: int) -> list[Matrix]:
        own = np.random.default_rng(seed).integers(2**63, size=(len(SPECTRA), len(scales)))
        return [Matrix(x, scale, int(own[i, j])) for i, x in enumerate(SPECTRA) for j, scale in enumerate(scales)]

    return st.integers(0, 2**62).map(of)


def stack(batch: list[Matrix], shape: tuple[int, int]) -> np.ndarray:
    """Build the matrices of a batch in float64."""
    return np.stack([SPECTRA[x.spectrum](np.random.default_rng(x.seed), *shape) * x.scale for x in batch])


def kind_of(batch: list[Matrix], *spectra: str) -> np.ndarray:
    """Tell which matrices of a batch have one of these spectra."""
    return np.array([x.spectrum in spectra for x in batch])
