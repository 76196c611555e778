"""SPECTRA around Adam, from the authors' code (arXiv 2603.14315). EXACT for matrices.

X = Adam's direction;  H_c(X) = U diag(s / sqrt(1 + s^2 / c^2)) V^T
W <- (1 - lambda eta) W - a sqrt(max(1, out/in)) eta H_c(X)
"""

import numpy as np


def spectra(w, gradients, *, learning_rate, maximum, scale=1.0, weight_decay=0.0, b1=0.9, b2=0.999, eps=1e-8):
    """Run over ``gradients`` from weights ``w``, both (out, in); moments start at zero."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        u, s, vh = np.linalg.svd(m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps), full_matrices=False)
        h = u * (s / np.sqrt(1 + s * s / maximum**2)) @ vh
        w = (1 - learning_rate * weight_decay) * w - scale * np.sqrt(
            max(1, w.shape[0] / w.shape[1])
        ) * learning_rate * h
    return w
