"""SF-NorMuon, algorithm 1 as restated (arXiv 2605.23061), decay at the warmed-up rate. EXACT.

Y = (1 - b) Z + b X;  M <- mu M + (1 - mu) G;  P = orth(M);  v <- b2 v + (1 - b2) rowmean(P^2)
Z <- Z - eta_t (0.2 sqrt(mn) P^ / |P^|_F + lambda Z),  P^ = P / (sqrt(v) + eps);  X <- (1 - c) X + c Z
c = eta_t^2 / sum of eta^2
"""

import numpy as np


def sf_normuon(
    w,
    gradients,
    *,
    orth,
    learning_rate,
    warmup_steps,
    momentum,
    second_moment_decay,
    interpolation,
    weight_decay,
    final="y",
):
    """Run over the gradients (taken at Y) from ``w``, both (out, in); give Y, or X with ``final="x"``."""
    z, x, m, v, total = np.array(w, np.float64), np.array(w, np.float64), np.zeros_like(w), np.zeros((len(w), 1)), 0.0
    for t, g in enumerate(gradients, start=1):
        rate = learning_rate * min(1, t / warmup_steps)
        m = momentum * m + (1 - momentum) * g
        p = orth(m)
        v = second_moment_decay * v + (1 - second_moment_decay) * np.mean(p**2, axis=1, keepdims=True)
        p = p / (np.sqrt(v) + 1e-8)
        z = z - rate * (0.2 * np.sqrt(p.size) * p / np.linalg.norm(p) + weight_decay * z)
        total += rate**2
        x = x + rate**2 / total * (z - x)
    return x if final == "x" else (1 - interpolation) * z + interpolation * x
