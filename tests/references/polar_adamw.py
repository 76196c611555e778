"""PolarAdamW (arXiv 2605.07067). PARTIAL: the rule is from the abstract; rates, scale and bias corrections are ours.

M <- b1 M + (1 - b1) G;  V <- b2 V + (1 - b2) G * G;  A = (M / (1 - b1^t)) / (sqrt(V / (1 - b2^t)) + eps)
W <- (1 - eta lambda) W - eta s orth(A), s = 0.2 sqrt(max(m, n))
"""

import numpy as np


def polar_adamw(w, gradients, orth, *, learning_rate, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M and V start at zero."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        a = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
        w = (1 - learning_rate * weight_decay) * w - learning_rate * 0.2 * np.sqrt(max(w.shape)) * orth(a)
    return w
