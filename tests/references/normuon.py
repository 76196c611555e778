"""NorMuon, from the authors' code (arXiv 2510.05491). EXACT.

M <- mu M + (1 - mu) G;  N = mu M + (1 - mu) G;  O = orth(N)
v <- b v + (1 - b) rowmean(O * O);  Y = O / (sqrt(v) + eps) row by row
U = Y |O|_F / (|Y|_F + eps);  W <- (1 - eta lambda) W - eta sqrt(max(1, out/in)) U
"""

import numpy as np


def normuon(w, gradients, orth, *, learning_rate, momentum=0.95, second_moment_decay=0.95, eps=1e-10, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M and v start at zero."""
    m, v = np.zeros_like(w), np.zeros(w.shape[0])
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        o = orth(momentum * m + (1 - momentum) * g)
        v = second_moment_decay * v + (1 - second_moment_decay) * np.mean(o * o, axis=1)
        y = o / (np.sqrt(v) + eps)[:, None]
        y = y * np.linalg.norm(o) / (np.linalg.norm(y) + eps)
        w = (1 - learning_rate * weight_decay) * w - learning_rate * np.sqrt(max(1, w.shape[0] / w.shape[1])) * y
    return w
