"""Every norm with its value and its dual written out in NumPy float64, for one matrix (reduction, output)."""

import dataclasses
from collections.abc import Callable

import numpy as np

import optax_muon as om

EXACT = om.linalg.SVDPolar()


@dataclasses.dataclass(frozen=True)
class Definition:
    """A norm, its two numbers, and the shapes it exists on."""

    norm: om.norms.Norm
    value: Callable[[np.ndarray], float]
    dual: Callable[[np.ndarray], float]
    least: tuple[int, int] = (1, 1)


def spectrum(x):
    return np.linalg.svd(x, compute_uv=False)


def size(x):
    return np.abs(x)


def long_side(axis):
    """Lengths of the vectors along an axis of (reduction, output)."""
    return lambda x: np.sqrt((size(x) ** 2).sum(axis=axis))


def euclid(x):
    return np.sqrt((size(x) ** 2).sum())


def taps(x, k):
    return np.split(x, k, axis=0)


def linear(x):
    return np.sqrt(x.shape[0] / x.shape[1]) * spectrum(x)[0]


def linear_dual(x):
    return np.sqrt(x.shape[1] / x.shape[0]) * spectrum(x).sum()


n = om.norms
DEFINITIONS = {
    "spectral": Definition(n.Spectral(EXACT), lambda x: spectrum(x)[0], lambda x: spectrum(x).sum()),
    "nuclear": Definition(n.Nuclear(), lambda x: spectrum(x).sum(), lambda x: spectrum(x)[0]),
    "ky-fan-1": Definition(n.KyFan(1), lambda x: spectrum(x)[0], lambda x: spectrum(x).sum()),
    "ky-fan-2": Definition(
        n.KyFan(2), lambda x: spectrum(x)[:2].sum(), lambda x: max(spectrum(x)[0], spectrum(x).sum() / 2), (2, 2)
    ),
    "dual-ky-fan-1": Definition(n.DualKyFan(1), lambda x: spectrum(x).sum(), lambda x: spectrum(x)[0]),
    "dual-ky-fan-2": Definition(
        n.DualKyFan(2), lambda x: max(spectrum(x)[0], spectrum(x).sum() / 2), lambda x: spectrum(x)[:2].sum(), (2, 2)
    ),
    "frobenius": Definition(n.Frobenius(), euclid, euclid),
    "rms": Definition(n.RMS(), lambda x: euclid(x) / np.sqrt(x.size), lambda x: euclid(x) * np.sqrt(x.size)),
    "max": Definition(n.Max(), lambda x: size(x).max(), lambda x: size(x).sum()),
    "l1": Definition(n.L1(), lambda x: size(x).sum(), lambda x: size(x).max()),
    "per-output": Definition(n.AxisNorm("reduction"), lambda x: long_side(0)(x).max(), lambda x: long_side(0)(x).sum()),
    "per-input": Definition(n.AxisNorm("output"), lambda x: long_side(1)(x).max(), lambda x: long_side(1)(x).sum()),
    "linear": Definition(n.Linear(EXACT), linear, linear_dual),
    "embed": Definition(
        n.Embed(),
        lambda x: np.sqrt((size(x) ** 2).mean(axis=1)).max(),
        lambda x: np.sqrt(x.shape[1]) * long_side(1)(x).sum(),
    ),
    "scion-sign": Definition(
        n.Scaled(n.Max(), n.FanPower(reduction=-1)),
        lambda x: x.shape[0] * size(x).max(),
        lambda x: size(x).sum() / x.shape[0],
    ),
    "scion-row": Definition(
        n.Scaled(n.AxisNorm("reduction"), n.FanPower(reduction=-0.5)),
        lambda x: np.sqrt(x.shape[0]) * long_side(0)(x).max(),
        lambda x: long_side(0)(x).sum() / np.sqrt(x.shape[0]),
    ),
    "scion-input": Definition(
        n.Scaled(n.Spectral(EXACT), om.shapes.Jordan()),
        lambda x: spectrum(x)[0] / np.sqrt(max(1, x.shape[1] / x.shape[0])),
        lambda x: spectrum(x).sum() * np.sqrt(max(1, x.shape[1] / x.shape[0])),
    ),
    "taps": Definition(
        n.Taps(n.Frobenius(), 3), lambda x: max(map(euclid, taps(x, 3))), lambda x: sum(map(euclid, taps(x, 3))), (3, 1)
    ),
    "conv": Definition(
        n.Conv(3, EXACT),
        lambda x: 3 * max(map(linear, taps(x, 3))),
        lambda x: sum(map(linear_dual, taps(x, 3))) / 3,
        (3, 1),
    ),
    "spectral-conv": Definition(
        n.SpectralConv(3, EXACT),
        lambda x: 3 * np.sqrt(x.shape[0] / 3 / x.shape[1]) * spectrum(x)[0],
        lambda x: np.sqrt(x.shape[1] / (x.shape[0] / 3)) / 3 * spectrum(x).sum(),
        (3, 1),
    ),
}
