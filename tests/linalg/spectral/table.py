"""The table that drives the tests of spectral maps: a new map is one line here."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from optax_muon import linalg
from optax_muon.linalg.spectral._by_svd import ExactMap

POLAR_EXPRESS = linalg.NewtonSchulz(linalg.POLAR_EXPRESS_PAPER_2025.with_safety(1.01))
SVD = linalg.SVDPolar()


@dataclasses.dataclass(frozen=True)
class Row:
    """One map and what is claimed of it.

    Attributes:
        name: in test ids.
        map: the map.
        ideal: the published function of a descending spectrum, float64 NumPy.
        within: how far ``map.scalar`` may be from it on spectra down to 0.03 of ``top``, times the largest image.
        top: the largest singular value of test matrices.
        domain: whether larger ones are refused by the definition.
        gap: whether it tells equal singular values apart, so that tests must not have any.
    """

    name: str
    map: linalg.SpectralMap
    ideal: Callable[[np.ndarray], np.ndarray]
    within: float = 1e-12
    top: float = 3.0
    domain: bool = False
    gap: bool = False

    @property
    def exact(self) -> bool:
        """Whether it decomposes."""
        return isinstance(self.map, ExactMap) and getattr(self.map, "orthogonalizer", None) is None

    def __post_init__(self):
        # Compiled once a shape; what decomposes shares its few operations with other rows uncompiled.
        object.__setattr__(self, "apply", self.map.apply if self.exact else jax.jit(self.map.apply))

    def image(self, s: np.ndarray) -> np.ndarray:
        """``map.scalar`` in float64."""
        with jax.enable_x64(True):
            return np.asarray(self.map.scalar(jnp.asarray(s, jnp.float64)))


def power(p):
    return lambda s: np.where(s > 0, np.where(s > 0, s, 1) ** p, 0)


def h(epsilon, kappa):
    return lambda s: s / (epsilon**kappa + s**kappa) ** (1 / kappa)


def ridge(tau):
    return lambda s: tau * s / np.sqrt(1 + (tau * s) ** 2)


def clip(low, high):
    return lambda s: np.where(s > 0, np.clip(s, low, high), 0)


def hammer(top):
    return lambda s: np.where((np.arange(s.shape[-1]) == 0) & (s > 0), top, s)


def first(rank):
    return lambda s: np.where(np.arange(s.shape[-1]) < rank, s, 0)


def freon(c):
    def image(s):
        out = np.zeros_like(s)
        for spectrum, y in zip(s.reshape(-1, s.shape[-1]), out.reshape(-1, s.shape[-1]), strict=True):
            kept, q = spectrum > 0, 2 - 2 * c
            if kept.any():
                values = spectrum[kept]
                mean = np.exp(np.log(values).mean()) if q == 0 else (values**q).mean() ** (1 / q)
                y[kept] = (values / mean) ** (q - 1)
        return out

    return image


def iterated(*steps, normalized=True, scale=1.0):
    def image(s):
        norm = np.linalg.norm(s, axis=-1, keepdims=True) if normalized else np.ones(())
        s = s / np.where(norm == 0, 1, norm)
        for step in steps:
            s = step(s)
        return s * scale

    return image


def cubics(a):
    return iterated(lambda s: s - a * s**3, lambda s: s + a * s**3, normalized=False)


def promote(s):
    return (15 * s - 10 * s**3 + 3 * s**5) / 8


def suppress(s):
    return (5 * s**3 - 3 * s**5) / 2


def chaos(s):
    return 4.1 * s * (1 - s**2) ** 2


ROWS = [
    Row("clip", linalg.SpectralClip(1.0), clip(0, 1)),
    Row("clip by sign", linalg.SpectralClip(1.0, orthogonalizer=POLAR_EXPRESS), clip(0, 1), within=1e-3),
    Row("clip to an interval", linalg.SpectralClip(1.0, 0.4), clip(0.4, 1)),
    Row("clip to an interval by sign", linalg.SpectralClip(1.0, 0.4, POLAR_EXPRESS), clip(0.4, 1), within=1e-3),
    Row("clip to a point", linalg.SpectralClip(2.0, 2.0), clip(2, 2)),
    Row("hammer", linalg.Hammer(1.5), hammer(1.5), gap=True),
    Row("on a sphere", linalg.OnSphere(1.5), lambda s: 1.5 * s / np.maximum(s[..., :1], 1e-300)),
    Row("soft cap", linalg.SoftCap(1.0, 1.1), cubics(0.15886442), within=1e-6, top=1.1, domain=True),
    Row("polynomial cap", linalg.PolynomialCap(1.0), clip(0, 1), within=0.034, top=3.0, domain=True),
    Row("power 1/4", linalg.SpectralPower(0.25), power(0.25)),
    Row("power 1/4 by roots", linalg.SpectralPower(0.25, POLAR_EXPRESS), power(0.25), within=1e-3),
    Row("power 1 by products", linalg.SpectralPower(1.0, POLAR_EXPRESS), power(1.0), within=1e-6),
    Row("power 0", linalg.SpectralPower(0.0), power(0.0)),
    Row("power -1/2", linalg.SpectralPower(-0.5), power(-0.5)),
    Row("power 1.1", linalg.SpectralPower(1.1), power(1.1)),
    Row("freon 0", linalg.Freon(0.0), freon(0.0)),
    Row("freon 1/2", linalg.Freon(0.5), power(0.0)),
    Row("freon 2/3", linalg.Freon(2 / 3), freon(2 / 3)),
    Row("freon 1", linalg.Freon(1.0), freon(1.0)),
    Row("ridge", linalg.Ridge(2.0), ridge(2.0)),
    Row("ridge by products", linalg.Ridge(2.0, POLAR_EXPRESS), ridge(2.0), within=1e-6),
    Row("soft sign 4", linalg.SoftSign(0.5, kappa=4), h(0.5, 4)),
    Row("soft clip", linalg.SoftClip(2.0), lambda s: 2 * ridge(0.5)(s)),
    Row("soft clip by products", linalg.SoftClip(2.0, orthogonalizer=POLAR_EXPRESS),
        lambda s: 2 * ridge(0.5)(s), within=1e-6),
    Row("soft clip 8", linalg.SoftClip(2.0, kappa=8), lambda s: 2 * h(2, 8)(s)),
    Row("high pass", linalg.HighPass(2), iterated(promote, promote, suppress, suppress, suppress)),
    Row("high pass by SVD", linalg.BySVD(linalg.HighPass(1, 3)), iterated(promote, suppress, suppress)),
    Row("kaon", linalg.Kaon(4), iterated(chaos, chaos, chaos, chaos, scale=1 / 1.175)),
    Row("top rank", linalg.TopRank(2), first(2), gap=True),
    Row("top rank 1", linalg.TopRank(1), first(1), gap=True),
]  # fmt: skip
