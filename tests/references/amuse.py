"""AMUSE, from the authors' README and code (arXiv 2605.22432), x solved for with the b that made y. EXACT.

Y = (1 - b_t) Z + b_t X;  M <- mu M + (1 - mu) G;  O = 0.2 sqrt(max(m, n)) orth(mu M + (1 - mu) G)
Z <- (1 - eta_t lambda) Z - eta_t O;  c = eta_t^2 / sum eta^2;  X <- (1 - c) X + c Z
b_t = b up to T0, then 1 - S_t^rho (1 - b),  S_t = [c_t / (1 - c_t)] / [c_T0 / (1 - c_T0)];  eta_t = eta min(1, t / T0)
"""

import numpy as np


def interpolation(t, warmup_steps, initial, exponent):
    """b_t from the averaging weights, t = 1, 2, ..."""
    if t <= warmup_steps:
        return initial
    w = np.minimum(1, np.arange(1, t + 1) / warmup_steps) ** 2
    c_t, c_0 = w[-1] / w.sum(), w[warmup_steps - 1] / w[:warmup_steps].sum()
    return 1 - ((c_t / (1 - c_t)) / (c_0 / (1 - c_0))) ** exponent * (1 - initial)


def amuse(w, gradients, *, orth, learning_rate, warmup_steps, momentum, initial, exponent, weight_decay=0.0, final="y"):
    """Run over the gradients (taken at Y) from ``w``, both (out, in); give Y, or X with ``final="x"``."""
    z, x, m, total = np.array(w, np.float64), np.array(w, np.float64), np.zeros_like(w), 0.0
    for t, g in enumerate(gradients, start=1):
        rate = learning_rate * min(1, t / warmup_steps)
        m = momentum * m + (1 - momentum) * g
        o = 0.2 * np.sqrt(max(w.shape)) * orth(momentum * m + (1 - momentum) * g)
        z = (1 - rate * weight_decay) * z - rate * o
        total += rate**2
        x = x + rate**2 / total * (z - x)
    b = interpolation(len(gradients) + 1, warmup_steps, initial, exponent)
    return x if final == "x" else (1 - b) * z + b * x
