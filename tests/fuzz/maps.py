"""Every spectral map, on every table, shape, dtype and spectrum: its scalar says what it does, within rounding."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from optax_muon import linalg
from tests.contracts.collection import MAPS
from tests.fuzz import spectra
from tests.fuzz.kind import Kind

LOW = (linalg.FLOAT16, linalg.BFLOAT16)
TABLES = {
    f"{form.__name__} {i}": form(table)
    for form in (linalg.NewtonSchulz, linalg.GramNewtonSchulz, linalg.best)
    for i, table in enumerate(linalg.TABLES)
}
OTHERS = {
    f"{type(op).__name__}, map {i}": op
    for i, op in enumerate(MAPS)
    if getattr(getattr(op, "plain", op), "arithmetic", None) not in LOW
}
# A gap of equal singular values is rounding, and that grows with them: this gate looks at the norm.
GATES = {"Gated": linalg.Gated(linalg.LargeEnough(3.0))}


def held_to_its_scalar(op: linalg.SpectralMap) -> bool:
    """Whether a map's scalar bounds it: five steps far above a clip ripple, as its page says, and gates are chosen."""
    return not isinstance(op, linalg.Gated) and not (isinstance(op, linalg.SpectralClip) and op.orthogonalizer)


FLOAT32 = TABLES | {name: op for name, op in OTHERS.items() if held_to_its_scalar(op)} | GATES
SMALL = (linalg.PolynomialCap, linalg.SoftCap)  # defined for singular values up to a bound
ROUNDING = 6e-6  # of a float32 singular value, in units of the largest: the decompositions' own is 1e-6
# Where a map enlarges the rounding of its products, in units of its largest image.
STEEP = {linalg.Kaon: 1e-2, linalg.SpectralClip: 2e-3}


class Batch(NamedTuple):
    """Matrices of one shape and dtype under one map."""

    name: str
    shape: tuple[int, int]
    dtype: str
    matrices: list[spectra.Matrix]


@functools.cache
def jitted(name: str):
    """Compile a map once for every shape and dtype."""
    return jax.jit(FLOAT32[name].apply)


def orthogonal(s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of an orthogonaliser of which only the largest singular value is known."""
    return np.where(np.arange(s.shape[-1]) == 0, 0.5, 0) * (s > 0), 1.5 + 0 * s


def spectral(name: str) -> bool:
    """Tell whether a spectrum alone has an image: some normalisers look at the matrix, or estimate."""
    if isinstance(getattr(FLOAT32[name], "normalize", None), linalg.PowerIteration):
        return False
    try:
        jax.eval_shape(FLOAT32[name].scalar, jnp.ones(2))
    except ValueError:
        return False
    return True


@functools.cache
def image(name: str):
    """Compile what a map's scalar says."""
    return jax.jit(FLOAT32[name].scalar)


def batches() -> st.SearchStrategy[Batch]:
    """Draw a map, a shape, a dtype and matrices."""

    def of(name: str) -> st.SearchStrategy[Batch]:
        scales = (0.01, 0.05, 1e-12, 1e-30) if isinstance(FLOAT32[name], SMALL) else spectra.SCALES
        dtypes = st.sampled_from(("float32", "float32", "bfloat16"))
        return st.builds(Batch, st.just(name), st.sampled_from(spectra.SHAPES), dtypes, spectra.matrices(scales))

    return st.sampled_from(sorted(FLOAT32)).flatmap(of)


def bounds(name: str, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest image of spectra that rounding makes of ``s``."""
    rng = np.random.default_rng(0)
    away = ROUNDING * s[..., :1] * np.stack([0 * s, 0 * s - 1, 0 * s + 1, *rng.choice([-1, 1], (6, *s.shape))])
    near = -np.sort(-np.maximum(s + away, 0), axis=-1)
    with jax.enable_x64(True):
        f = np.asarray(image(name)(near))
    return f.min(0), f.max(0)


def check(batch: Batch):
    """Compare size and direction of every image with what the scalar says of the spectrum."""
    x = spectra.stack(batch.matrices, batch.shape).astype(jnp.dtype(batch.dtype))
    y = jitted(batch.name)(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    x, y = (np.asarray(a, np.float64) for a in (x, y))
    nan, zero = (spectra.kind_of(batch.matrices, kind) for kind in ("nan", "zero"))
    assert np.isnan(y[nan]).any((1, 2)).all(), "a NaN vanished"
    assert np.isfinite(y[~nan]).all(), "finite matrices, and an image that is not"
    assert (y[zero] == 0).all(), "zero gave something"
    s = np.linalg.svd(x[~nan], compute_uv=False)
    low, high = bounds(batch.name, s) if spectral(batch.name) else orthogonal(s)
    stored = 0 if batch.dtype == "float32" else 1.5e-2  # four roundings to bfloat16
    floor = STEEP.get(type(FLOAT32[batch.name]), 2e-4) + stored
    rounding = floor * np.maximum(high.max(-1), 1.0 if isinstance(FLOAT32[batch.name], linalg.Kaon) else 1e-30)
    size = np.linalg.norm(y[~nan], axis=(1, 2))
    square = [np.sqrt((np.clip(f, 0, None) ** 2).sum(-1)) for f in (np.minimum(abs(low), abs(high)) * (low * high > 0),
                                                                    np.maximum(abs(low), abs(high)))]  # fmt: skip
    within("size", batch, nan, size, square[0] - rounding, square[1] + rounding)
    along = (x[~nan] * y[~nan]).sum((1, 2))
    nuclear = s.sum(-1)
    within("<x, y>", batch, nan, along, (s * low).sum(-1) - rounding * nuclear, (s * high).sum(-1) + rounding * nuclear)
    return [(batch.name, batch.shape, batch.dtype, one) for one in batch.matrices]


def within(what, batch, nan, found, low, high):
    """Name the first matrix whose number lies outside its bounds."""
    bad = ~((low <= found) & (found <= high))
    if bad.any():
        i = int(np.flatnonzero(bad)[0])
        which = [one for one, broken in zip(batch.matrices, nan, strict=True) if not broken][i]
        raise AssertionError(
            f"{what} of {which} under {batch[:3]}: {found[i]:.6g} not in [{low[i]:.6g}, {high[i]:.6g}]"
        )


KIND = Kind("maps", batches(), check, quick=3, share=0.45, minutes=12)
