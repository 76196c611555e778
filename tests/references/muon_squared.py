"""Muon^2, from a restatement (arXiv 2604.09967). EXACT, with eps beside the bias-corrected second moment.

M <- mu M + (1 - mu) G;  V <- b V + (1 - b) G * G
W <- (1 - eta lambda) W - eta sqrt(out / in) orth(M / sqrt(V / (1 - b^t) + eps))
"""

import numpy as np


def muon_squared(
    w, gradients, orth, *, learning_rate, momentum=0.95, second_moment_decay=0.95, eps=1e-8, weight_decay=0.0
):
    """Run over ``gradients`` from weights ``w``, both (out, in); M and V start at zero."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m = momentum * m + (1 - momentum) * g
        v = second_moment_decay * v + (1 - second_moment_decay) * g * g
        o = orth(m / np.sqrt(v / (1 - second_moment_decay**t) + eps))
        scale = np.sqrt(w.shape[0] / w.shape[1])
        w = (1 - learning_rate * weight_decay) * w - learning_rate * scale * o
    return w
