"""NAMO, from a restatement and NVIDIA's variant (arXiv 2602.17080). EXACT.

v <- mu2 v + (1 - mu2) |G|_F^2;  M <- mu1 M + (1 - mu1) G
a = sqrt(1 - mu2^t) / (1 - mu1^t) |M|_F / (sqrt(v) + eps);  W <- (1 - eta a lambda) W - eta a s orth(M)
with s = 0.2 sqrt(max(m, n)), ours.
"""

import numpy as np


def namo(w, gradients, orth, *, learning_rate, momentum=0.95, second_moment_decay=0.99, eps=1e-8, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M and v start at zero."""
    m, v = np.zeros_like(w), 0.0
    for t, g in enumerate(gradients, 1):
        v = second_moment_decay * v + (1 - second_moment_decay) * np.sum(g * g)
        m = momentum * m + (1 - momentum) * g
        a = np.sqrt(1 - second_moment_decay**t) / (1 - momentum**t) * np.linalg.norm(m) / (np.sqrt(v) + eps)
        step = learning_rate * a
        w = (1 - step * weight_decay) * w - step * 0.2 * np.sqrt(max(w.shape)) * orth(m)
    return w
