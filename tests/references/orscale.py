"""OrScale and OrScale-LM, from the authors' code (arXiv 2605.07815). EXACT.

M <- mu M + G;  Q = orth(mu M + G);  D = lambda W + s Q
W <- W - eta clip(|W| / (c |D| + eps), r_min, r_max) D, Frobenius norms
OrScale: s = c = 1, clip [0.5, 1.5]
    LM: s = 0.2 sqrt(max(m, n)), c = |W_0| / |D_0| (s where a norm is under eps), clip [0.1, 5]
"""

import numpy as np


def orscale(w, gradients, orth, *, learning_rate, lm, momentum=0.95, weight_decay=0.0, eps=1e-6):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m, c = np.zeros_like(w), None if lm else 1.0
    s, low, high = (0.2 * np.sqrt(max(w.shape)), 0.1, 5.0) if lm else (1.0, 0.5, 1.5)
    for g in gradients:
        m = momentum * m + g
        d = weight_decay * w + s * orth(momentum * m + g)
        weight, step = np.linalg.norm(w), np.linalg.norm(d)
        if c is None:
            c = s if min(weight, step) < eps else weight / step
        w = w - learning_rate * np.clip(weight / (c * step + eps), low, high) * d
    return w
