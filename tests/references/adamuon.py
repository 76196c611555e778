"""AdaMuon, from the authors' code (arXiv 2507.11005). EXACT.

M <- mu M + (1 - mu) G;  N = mu M + (1 - mu) G;  O = orth(sign(N));  V <- b V + (1 - b) O * O, from zero
U = O / (sqrt(V) + eps);  U <- 0.2 sqrt(mn) U / |U|_F;  W <- (1 - eta lambda) W - eta U
"""

import numpy as np


def adamuon(w, gradients, orth, *, learning_rate, momentum=0.95, second_moment_decay=0.95, eps=1e-8, weight_decay=0.1):
    """Run over ``gradients`` from weights ``w``, both (out, in); M and V start at zero."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        o = orth(np.sign(momentum * m + (1 - momentum) * g))
        v = second_moment_decay * v + (1 - second_moment_decay) * o * o
        u = o / (np.sqrt(v) + eps)
        u = 0.2 * np.sqrt(w.size) * u / np.linalg.norm(u)
        w = (1 - learning_rate * weight_decay) * w - learning_rate * u
    return w
