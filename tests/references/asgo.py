"""ASGO, the form of the authors' code (arXiv 2503.20762). EXACT.

M <- mu M + (1 - mu) G;  S <- b S + (1 - b) G G^T on the smaller side;  U = S^-1/2 M
W <- W - eta (0.2 sqrt(mn) U / |U|_F + lambda W)
"""

import numpy as np

from tests.references.kl_shampoo import power


def asgo(w, gradients, *, learning_rate, momentum, second_moment_decay, weight_decay=0.0):
    """Run over ``gradients`` from ``w``, both (out, in)."""
    w, m = np.array(w, np.float64), np.zeros_like(w)
    out, fan_in = w.shape
    s = np.zeros((min(w.shape),) * 2)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        # Equal sides: the library takes the reduction side, the input's.
        s = second_moment_decay * s + (1 - second_moment_decay) * (g.T @ g if fan_in <= out else g @ g.T)
        u = m @ power(s, -0.5) if fan_in <= out else power(s, -0.5) @ m
        w = w - learning_rate * (0.2 * np.sqrt(w.size) * u / np.linalg.norm(u) + weight_decay * w)
    return w
