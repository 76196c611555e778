"""Muon with momentum variance reduction, from the authors' code (arXiv 2509.15816; MARS-M, arXiv 2510.21800). EXACT.

    C = G + gamma beta / (1 - beta) (G - G_prev);  C <- C / max(1, |C|_F);  M <- beta M + (1 - beta) C
    W <- (1 - eta lambda) W - eta 0.2 sqrt(max(m, n)) orth(M)

G_prev is the last gradient (MVR1) or the gradient of this batch at the last weights (MVR2); zero at the first step.
"""

import numpy as np


def muon_mvr(
    w, gradients, grads_at_previous_params=None, *, orth, learning_rate, momentum, gamma, clip=True, weight_decay=0.0
):
    """Run over ``gradients`` from ``w``, both (out, in); MVR2 if gradients at the previous weights are given."""
    w, m, last = np.array(w, np.float64), np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients):
        if grads_at_previous_params is not None and t > 0:
            last = grads_at_previous_params[t]
        c = g + gamma * momentum / (1 - momentum) * (g - last)
        if clip:
            c = c / max(1.0, np.linalg.norm(c))
        m = momentum * m + (1 - momentum) * c
        w = (1 - learning_rate * weight_decay) * w - learning_rate * 0.2 * np.sqrt(max(w.shape)) * orth(m)
        last = g
    return w


def storm(w, gradients, grads_at_previous_params, *, orth, learning_rate, momentum):
    """Muon on STORM's momentum, M = G + beta (M - G_prev), M_1 = G_1."""
    w, m = np.array(w, np.float64), np.zeros_like(w)
    for t, (g, before) in enumerate(zip(gradients, grads_at_previous_params, strict=True)):
        m = g if t == 0 else g + momentum * (m - before)
        w = w - learning_rate * 0.2 * np.sqrt(max(w.shape)) * orth(m)
    return w
