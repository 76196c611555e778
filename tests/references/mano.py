"""Mano, from the authors' code and the paper's text (arXiv 2601.23000). EXACT.

M <- mu M + G;  at even steps vectors are columns of (out, in), one per input, at odd steps rows, one per output
What = W, each vector at unit length;  v = M - What <M, What>;  v <- unit(v), each vector
W <- (1 - eta lambda) W - eta 0.2 sqrt(length of a vector) v
"""

import numpy as np


def mano(w, gradients, *, learning_rate, momentum=0.95, weight_decay=0.1, first=0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero, and steps count from ``first``."""
    m = np.zeros_like(w)
    for t, g in enumerate(gradients, first):
        m = momentum * m + g
        along = t % 2
        unit = w / np.linalg.norm(w, axis=along, keepdims=True)
        v = m - unit * np.sum(m * unit, axis=along, keepdims=True)
        v = v / np.linalg.norm(v, axis=along, keepdims=True)
        step = learning_rate * 0.2 * np.sqrt(w.shape[along])
        w = (1 - learning_rate * weight_decay) * w - step * v
    return w
