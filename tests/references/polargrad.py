"""PolarGrad, from its published rule (arXiv 2505.21799; the power from arXiv 2605.18106). EXACT.

M <- mu M + (1 - mu) G;  W <- (1 - eta lambda) W - eta <M, orth(M)>^alpha orth(M)
polar first, from the authors' code: M <- mu M + (1 - mu) orth(G);  W <- (1 - eta lambda) W - eta <G, orth(G)>^alpha M
"""

import numpy as np


def polargrad(w, gradients, orth, *, learning_rate, momentum=0.95, power=1.0, weight_decay=0.0, order="momentum_first"):
    """Run over ``gradients`` from weights ``w``; M starts at zero."""
    w, m = np.array(w, np.float64), np.zeros_like(w, np.float64)
    for g in gradients:
        if order == "polar_first":
            u = orth(g)
            m = momentum * m + (1 - momentum) * u
            step = np.sum(g * u) ** power * m
        else:
            m = momentum * m + (1 - momentum) * g
            u = orth(m)
            step = np.sum(m * u) ** power * u
        w = (1 - learning_rate * weight_decay) * w - learning_rate * step
    return w
