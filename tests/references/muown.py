"""Muown, from the authors' code (arXiv 2605.10797). EXACT.

W = diag(g) V, rows of V unit;  u = W / g;  v = u vn, vn the stored lengths of v's rows, at first g
dg = rowsum(G * u);  dv = (g / vn) (G - u dg);  M <- mu M + dv
v+ = v - eta 0.2 sqrt(max(m, n)) orth(dv + mu M);  g+ = g - eta Adam(dg), bias-corrected
W <- g+ v+ / |v+|_row - eta lambda W;  vn <- |v+|_row
"""

import numpy as np


def muown(w, gradients, orth, *, learning_rate, momentum=0.95, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); all averages start at zero."""
    m, first, second = np.zeros_like(w), 0.0, 0.0
    stored = np.linalg.norm(w, axis=1, keepdims=True)
    for t, gradient in enumerate(gradients, 1):
        g = np.linalg.norm(w, axis=1, keepdims=True)
        u = w / g
        v = u * stored
        dg = np.sum(gradient * u, axis=1, keepdims=True)
        dv = g / stored * (gradient - u * dg)
        m = momentum * m + dv
        v = v - learning_rate * 0.2 * np.sqrt(max(w.shape)) * orth(dv + momentum * m)
        first = betas[0] * first + (1 - betas[0]) * dg
        second = betas[1] * second + (1 - betas[1]) * dg * dg
        adam = first / (1 - betas[0] ** t) / (np.sqrt(second / (1 - betas[1] ** t)) + eps)
        stored = np.linalg.norm(v, axis=1, keepdims=True)
        w = (g - learning_rate * adam) * v / stored - learning_rate * weight_decay * w
    return w
