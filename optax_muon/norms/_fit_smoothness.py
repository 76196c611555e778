"""Smoothness constants from measurements along a run."""

import numpy as np
from numpy.typing import ArrayLike

from optax_muon.norms._radius import Smoothness


def fit_smoothness(estimates: ArrayLike, duals: ArrayLike) -> Smoothness:
    """Fit ``estimate = L0 + L1 * dual`` by least squares with both constants at least zero.

    Use it on the samples of one layer along a run; `diagnostics.fit_layers` does it for all.

    Args:
        estimates: local smoothness constants, dual norm per norm, any shape.
        duals: dual norms of the gradients that belong to them, of the same shape.

    Returns:
        The radius that follows, `norms.Smoothness`.

    Raises:
        ValueError: without a positive finite estimate.

    References:
        Riabinin et al., Gluon, arXiv 2505.13416.
    """
    y, d = np.asarray(estimates, np.float64).ravel(), np.asarray(duals, np.float64).ravel()
    # A step that did not move a layer has 0 / 0 as its estimate.
    seen = np.isfinite(y) & np.isfinite(d)
    y, d = y[seen], d[seen]
    if not np.any(y > 0):
        raise ValueError("fit_smoothness: no positive finite estimate among estimates")
    # The optimum with bounds is the free one or is on one of the two edges.
    edges = [(y.mean(), 0.0), (0.0, float(np.dot(y, d) / np.dot(d, d)) if d.any() else 0.0)]
    free = np.linalg.lstsq(np.stack([np.ones_like(d), d], axis=1), y, rcond=None)[0]
    candidates = [c for c in [*edges, tuple(free)] if min(c) >= 0 and max(c) > 0]
    best = min(candidates, key=lambda c: float(np.sum((c[0] + c[1] * d - y) ** 2)))
    return Smoothness(float(best[0]), float(best[1]))
