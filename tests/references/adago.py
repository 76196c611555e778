"""AdaGO, from a restatement (arXiv 2509.02981). EXACT, the floor as a share of the rate, and with a decay.

M <- mu M + (1 - mu) G;  v^2 <- v^2 + min(|G|_F, gamma)^2
W <- (1 - eta lambda) W - max(floor eta, eta min(|G|_F, gamma) / v) orth(M)
"""

import numpy as np


def adago(w, gradients, orth, *, learning_rate, momentum=0.95, clip=10.0, floor=0.01, start=1e-6, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m, squares = np.zeros_like(w), start**2
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        size = min(np.linalg.norm(g), clip)
        squares += size**2
        step = max(floor * learning_rate, learning_rate * size / np.sqrt(squares))
        w = (1 - learning_rate * weight_decay) * w - step * orth(m)
    return w
