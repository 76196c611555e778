"""RMNP, from the authors' LLaMA code (arXiv 2603.20527). EXACT.

M <- mu M + (1 - mu) G;  N = mu M + (1 - mu) G;  D_i = N_i / |N_i| for every row i, never transposed
W <- (1 - eta lambda) W - eta sqrt(max(1, out/in)) D
"""

import numpy as np


def rmnp(w, gradients, *, learning_rate, momentum=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        n = momentum * m + (1 - momentum) * g
        d = np.stack([row / np.linalg.norm(row) for row in n])
        w = (1 - learning_rate * weight_decay) * w - learning_rate * np.sqrt(max(1, w.shape[0] / w.shape[1])) * d
    return w
