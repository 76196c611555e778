"""MuonBP, from a restatement (arXiv 2510.16981), full at the first step. EXACT.

M <- mu M + G
t mod P == 0: U = 0.2 sqrt(max(m, n)) orth(M);  else every block b alone: U_b = rho 0.2 sqrt(max(m_b, n_b)) orth(M_b)
W <- (1 - eta lambda) W - eta U
"""

import numpy as np


def muon_bp(w, gradients, orth, *, learning_rate, period, block_rate=1.0, blocks=1, momentum=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in) and cut along ``out``; M starts at zero."""
    m = np.zeros_like(w)
    for t, g in enumerate(gradients):
        m = momentum * m + g
        full = t % period == 0
        parts = [m] if full else np.split(m, blocks)
        u = np.concatenate([0.2 * np.sqrt(max(part.shape)) * orth(part) for part in parts])
        w = (1 - learning_rate * weight_decay) * w - learning_rate * (1 if full else block_rate) * u
    return w
