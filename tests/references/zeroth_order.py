"""Rules without gradients: MeZO (arXiv 2305.17333) and ZO-Muon (2602.17155), EXACT; AdaNAGED (2606.14970), OUR READING.

ZO-Muon:   g = mean_j (f(W + mu Z_j) - f(W)) / mu Z_j;  W <- W - eta orth(g)
AdaNAGED:  eta_t = sqrt(d_t / c_t), c_t = sum |dG|_* / eta, d_t = max(d, sum eta <G, D>), d_0 = eta_0 |G_0|_*
"""

import numpy as np


def polar(x):
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return u @ vh


def estimate(f, w, probes, radius, central=True):
    """Average differences along given probes."""
    total = np.zeros_like(w)
    for z in probes:
        behind = f(w - radius * z) if central else f(w)
        total += (f(w + radius * z) - behind) / ((2 if central else 1) * radius) * z
    return total / len(probes)


def zo_muon(w, gradients, *, learning_rate, weight_decay=0.0):
    """Walk one matrix through estimates."""
    for g in gradients:
        w = w - learning_rate * (polar(g) + weight_decay * w)
    return w


def adanaged(weights, gradients, *, learning_rate=1.0, first_step=1e-3):
    """Walk a list of matrices, which share one length; ``gradients`` has a list for every step."""
    eta, c, gain, d, last, point = first_step, 0.0, 0.0, None, None, None
    nuclear = lambda xs: sum(np.linalg.svd(x, compute_uv=False).sum() for x in xs)  # noqa: E731
    for gs in gradients:
        if last is None:
            d = eta * nuclear(gs)
        else:
            c += nuclear([g - old for g, old in zip(gs, last, strict=True)]) / eta
            gain += eta * sum(np.sum(g * p) for g, p in zip(gs, point, strict=True))
            d = max(d, gain)
            eta = np.sqrt(d / c)
        last, point = gs, [polar(g) for g in gs]
        weights = [w - learning_rate * eta * p for w, p in zip(weights, point, strict=True)]
    return weights
