"""Dion, from the authors' code (arXiv 2504.05295). EXACT but for the start of Q, which is given, and for eps, a
part of the longest column here and in units of gradients there.

B = M + G;  P = qr(B Q).Q;  R = B^T P;  M <- B - (1 - mu) P R^T;  Q <- R with columns of length 1
W <- (1 - eta lambda) W - eta sqrt(out/in) P Q^T
"""

import numpy as np


def dion(w, gradients, start, *, learning_rate, rank, power_steps=1, momentum=0.95, weight_decay=0.01, eps=1e-8):
    """Run over ``gradients`` from weights ``w``, both (out, in); ``start(in, k)`` gives the first Q."""
    m, q = np.zeros_like(w), start(w.shape[1], min(rank, *w.shape))
    for g in gradients:
        b = m + g
        r = q
        for _ in range(power_steps):
            p = np.linalg.qr(b @ r)[0]
            r = b.T @ p
        m = b - (1 - momentum) * p @ r.T
        lengths = np.linalg.norm(r, axis=0)
        q = r / (lengths + eps * lengths.max())
        w = (1 - learning_rate * weight_decay) * w - learning_rate * np.sqrt(w.shape[0] / w.shape[1]) * p @ q.T
    return w
