"""MuonEq, from the authors' code (arXiv 2603.28254), modes R, C and RC. EXACT.

M <- mu M + G;  N = G + mu M;  r = rowsum(N * N) + eps, q = colsum(N * N) + eps, both of the same N
N' = diag(r)^-1/2 N (R), N diag(q)^-1/2 (C), both factors (RC)
    W <- (1 - eta lambda) W - eta 0.2 sqrt(max(m, n)) orth(N')
"""

import numpy as np


def muoneq(w, gradients, orth, *, learning_rate, mode, momentum=0.95, eps=1e-8, weight_decay=0.1):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + g
        n = g + momentum * m
        rows = np.sum(n * n, axis=1, keepdims=True) + eps if "R" in mode else 1
        columns = np.sum(n * n, axis=0, keepdims=True) + eps if "C" in mode else 1
        o = orth(n * np.asarray(rows) ** -0.5 * np.asarray(columns) ** -0.5)
        w = (1 - learning_rate * weight_decay) * w - learning_rate * 0.2 * np.sqrt(max(w.shape)) * o
    return w
