"""SoftSignum and SoftMuon, from the authors' code (arXiv 2605.31371). EXACT.

For the first alpha N steps Signum (Muon). At the switch: mu = median(z), sigma = median |z - mu|, K = N - alpha N
q_k: the k/K quantile of |Cauchy(mu, sigma)|, by 10 Newton steps from sigma tan(pi p / 2) + |mu|
tau_k = clip(inverse(1 - eps) / q_k, 1, tau_max), inverse = atanh (y / sqrt(1 - y^2) for SoftMuon)
W <- (1 - eta lambda) W - eta tanh(tau_k M)
    SoftMuon: W <- (1 - eta lambda) W - eta sqrt(max(1, out/in)) U diag(tau s / sqrt(1 + (tau s)^2)) V^T
z: all entries of the momentum of the group (SoftMuon: all singular values of its raw gradients)
"""

import numpy as np


def temperatures(z, count, level, maximum):
    """Give tau_0 ... tau_{count - 1}."""
    center = np.median(z)
    width = np.median(np.abs(z - center))
    out = []
    for k in range(count):
        p = k / count
        q = width * np.tan(np.pi * p / 2) + abs(center) if p else 0.0
        for _ in range(10 if p else 0):
            value = (np.arctan((q - center) / width) + np.arctan((q + center) / width)) / np.pi
            slope = (width / (width**2 + (q - center) ** 2) + width / (width**2 + (q + center) ** 2)) / np.pi
            q = q - (value - p) / slope
        out.append(np.clip(level / q, 1, maximum) if q > 0 else maximum)
    return out


def soft_signum(weights, gradients, *, learning_rate, steps, hard, momentum=0.95, weight_decay=0.0, maximum=1e9):
    """Run over ``gradients``, lists of arrays, from ``weights``, a list of arrays; M starts at zero, EMA."""
    ms, taus, first = [np.zeros_like(w) for w in weights], None, int(hard * steps)
    for t, gs in enumerate(gradients):
        ms = [momentum * m + (1 - momentum) * g for m, g in zip(ms, gs, strict=True)]
        if t == first:
            taus = temperatures(np.concatenate([m.ravel() for m in ms]), steps - first, np.arctanh(1 - 1e-4), maximum)
        ds = [np.sign(m) if t < first else np.tanh(taus[t - first] * m) for m in ms]
        weights = [(1 - learning_rate * weight_decay) * w - learning_rate * d for w, d in zip(weights, ds, strict=True)]
    return weights
