"""Implicit gradient transport around a step along a direction (arXiv 2605.05577 PARTIAL, 2605.18528 EXACT).

Y = W + s mu / (1 - mu) (W - W_last);  M_1 = G_1, M <- mu M + (1 - mu) G(Y);  W <- W - eta (direction(M) + lambda W)
"""

import numpy as np


def transported(w, gradients, *, direction, learning_rate, momentum, transport=1.0, weight_decay=0.0, final="y"):
    """Run over the gradients (taken at Y) from ``w``, both (out, in); give Y, or W with ``final="w"``."""
    w, m, last = np.array(w, np.float64), None, None
    for g in gradients:
        m = g if m is None else momentum * m + (1 - momentum) * g
        last, w = w, w - learning_rate * (direction(m) + weight_decay * w)
    return w if final == "w" else w + transport * momentum / (1 - momentum) * (w - last)
