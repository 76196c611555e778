"""Matrices with known singular values: the spectra on which fast iterations have failed somewhere."""

import dataclasses

import jax
import numpy as np

from optax_muon import linalg


def with_spectrum(s, shape, seed=0):
    """A float64 matrix of ``shape`` with singular values ``s``."""
    rng, (m, n) = np.random.default_rng(seed), shape
    u, v = (np.linalg.qr(rng.normal(size=(k, min(m, n))))[0] for k in (m, n))
    return (u * s) @ v.T


def hard(m, n, seed=0):
    """Name -> float64 matrix: gaussian and skewed entries, decay, rank deficiency, spikes over a flat bulk."""
    i = np.arange(m) / max(m - 1, 1)
    spectra = {f"decay to 1e-{k}": 10.0 ** (-k * i) for k in (3, 5, 7)}
    spectra |= {"half zero": (i < 0.5) * 1.0, "linear": 1 - i}
    spectra |= {f"rank {k}": (np.arange(m) < k) * 1.0 for k in (1, 2, 4)}
    for bulk in (0.1, 0.03, 0.01, 0.001):
        spectra |= {f"{k} over {bulk}": np.where(np.arange(m) < k, 1.0, bulk) for k in (1, 4)}
    rng = np.random.default_rng(seed + 1)
    matrices = {"gaussian": rng.normal(size=(m, n)), "gamma": rng.gamma(0.5, size=(m, n))}
    return matrices | {name: with_spectrum(s, (m, n), seed) for name, s in spectra.items()}


def crowded(m, n, seed=0):
    """A float64 stack of every kind of spike over a bulk, of decay, and of three levels.

    A few spectra are not enough: bfloat16 with two restarts of five steps passes `hard` at m = 256 and 1024, and blows
    up by 4 on three spikes over 0.05 at m = 32.
    """
    i, spectra = np.arange(m), []
    for bulk in np.geomspace(2e-4, 0.7, 26):
        spectra += [np.where(i < k, 1.0, bulk) for k in (1, 2, 3, 6, 12)]
    spectra += [10 ** (-decades * i / m) for decades in np.linspace(0.3, 7, 20)]
    for bulk in (0.3, 0.1, 0.03, 0.01, 0.003):
        spectra += [np.where(i < 2, 1.0, np.where(i < 14, bulk, bulk * c)) for c in (0.3, 0.1, 0.03)]
    rng, s = np.random.default_rng(seed), np.stack(spectra)[:, None]
    u, v = (np.linalg.qr(rng.normal(size=(len(spectra), k, m)))[0] for k in (m, n))
    return (u * s) @ v.swapaxes(1, 2)


def newton_schulz(x, table, norm=None):
    """The plain iteration of ``x`` in float64 NumPy."""
    x = np.asarray(x, np.float64)
    x = x / (np.linalg.norm(x) if norm is None else norm) / table.safety
    for row in table.rows:
        a = x @ x.T
        inner = row[-1] * a
        for c in row[-2:0:-1]:
            inner = c * a + a @ inner
        x = row[0] * x + inner @ x
    return x


def one_shape(table):
    """Rows and safety as an array of shape (10, 3): one compilation serves all tables."""
    rows = np.zeros((10, 3))
    rows[:, 0] = 1
    for i, row in enumerate(table.rows):
        rows[i, : len(row)] = row
    rows[0] /= table.safety ** np.array([1, 3, 5])
    return rows


def errors(y, exact):
    """Relative errors of a stack in the Frobenius norm."""
    return np.linalg.norm(np.asarray(y, np.float64) - exact, axis=(1, 2)) / np.linalg.norm(exact, axis=(1, 2))


@dataclasses.dataclass(frozen=True)
class TF32(linalg.Arithmetic):
    """What Precision.HIGH means on a GPU, which a CPU would compute in float32: operands rounded to 11 bits."""

    precision: jax.lax.Precision = jax.lax.Precision.HIGH

    def matmul(self, a, b):
        a, b = (jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10) for x in (a, b))
        return linalg.FLOAT32.matmul(a, b)
