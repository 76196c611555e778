"""Muon, from its published rule (arXiv 2505.23737, algorithm 3, with Jordan's Nesterov step and shape factor). EXACT.

M <- mu M + (1 - mu) G;  U = mu M + (1 - mu) G;  W <- W - eta (sqrt(max(1, out/in)) orth(U) + lambda W)
"""

import numpy as np


def muon(w, gradients, orth, *, learning_rate, momentum=0.95, nesterov=True, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    w, m = np.array(w, np.float64), np.zeros_like(w, np.float64)
    out, fan_in = w.shape
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        u = momentum * m + (1 - momentum) * g if nesterov else m
        w = w - learning_rate * (np.sqrt(max(1.0, out / fan_in)) * orth(u) + weight_decay * w)
    return w
