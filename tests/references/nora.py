"""Nora, from a restatement (arXiv 2605.03769). PARTIAL: its scale, here 1, was not seen.

M <- mu M + (1 - mu) G;  for every output: d = M - <M, w> w with w = W / |W|;  d <- d / |d|
W <- W - eta (d + lambda W)
"""

import numpy as np


def nora(w, gradients, *, learning_rate, momentum=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        unit = w / np.linalg.norm(w, axis=1, keepdims=True)
        d = m - np.sum(m * unit, axis=1, keepdims=True) * unit
        d = d / np.linalg.norm(d, axis=1, keepdims=True)
        w = w - learning_rate * (d + weight_decay * w)
    return w
