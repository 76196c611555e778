"""SSO (arXiv 2601.08393, github.com/Unakar/Spectral-Sphere-Optimizer). EXACT, but that weights come back after a step.

M EMA, N = mu M + (1 - mu) G;  Theta = u v^T of W;  lam: <Theta, orth(N/|N| + lam Theta)> = 0, from below and above
W <- W - eta R orth(N/|N| + lam Theta);  W <- R W / |W|_2;  R = r sqrt(out / in)
"""

import numpy as np

from tests.references.polar import polar


def root(n, theta, rounds):
    """Halve an interval around the multiplier of ``n``, whose Frobenius norm is 1."""
    high = 2 * np.linalg.norm(n, "nuc")
    low = -high
    for _ in range(rounds):
        middle = (low + high) / 2
        low, high = (middle, high) if np.sum(theta * polar(n + middle * theta)) < 0 else (low, middle)
    return (low + high) / 2


def sso(w, gradients, *, learning_rate, radius=2.0, momentum=0.9, nesterov=True, rounds=60):
    """Run over ``gradients`` from weights ``w``, both (out, in); no rounds is MuonSphere."""
    size = radius * np.sqrt(w.shape[0] / w.shape[1])
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        n = momentum * m + (1 - momentum) * g if nesterov else m
        n = n / np.linalg.norm(n)
        u, _, vh = np.linalg.svd(w)
        theta = np.outer(u[:, 0], vh[0])
        lam = root(n, theta, rounds) if rounds else 0
        w = w - learning_rate * size * polar(n + lam * theta)
        w = size * w / np.linalg.norm(w, 2)
    return w
