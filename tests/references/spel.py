"""SPEL (arXiv 2601.21487), the paper's form and that of NVIDIA's spel.py. EXACT.

M EMA;  T = M - 1/2 W (W^T M + M^T W) for W tall (wide: transposed), or T = M
W <- orth((1 - eta lambda) W - eta orth(T))
"""

import numpy as np

from tests.references.polar import polar


def spel(w, gradients, *, learning_rate, tangent=True, momentum=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in)."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        t = m
        if tangent and w.shape[0] >= w.shape[1]:
            t = m - w @ (w.T @ m + m.T @ w) / 2
        elif tangent:
            t = m - (w @ m.T + m @ w.T) @ w / 2
        w = polar((1 - learning_rate * weight_decay) * w - learning_rate * polar(t))
    return w
