"""Scion, from its published rule (arXiv 2502.07529, algorithms 1 and 2, and the norms of the authors' code). EXACT.

    D <- mu D + (1 - mu) G;  W <- (1 - eta lambda) W - eta rho lmo(D)

Matrices are (out, in), an embedding (vocabulary, width).
"""

import numpy as np


def scion(w, gradients, lmo, *, learning_rate, radius=1.0, momentum=0.9, weight_decay=1.0):
    """Run over ``gradients`` from weights ``w``; D starts at zero."""
    w, d = np.array(w, np.float64), np.zeros_like(w, np.float64)
    for g in gradients:
        d = momentum * d + (1 - momentum) * g
        w = (1 - learning_rate * weight_decay) * w - learning_rate * radius * lmo(d)
    return w


def spectral(orth):
    return lambda d: np.sqrt(d.shape[0] / d.shape[1]) * orth(d)


def spectral_conv(orth, taps):
    """Of a kernel (out, in) whose inputs run over taps and channels."""
    return lambda d: np.sqrt(d.shape[0] / (d.shape[1] / taps)) / taps * orth(d)


def sign(d):
    return np.sign(d) / d.shape[1]


def column_norm_of_embedding(d):
    return d / np.sqrt(np.mean(d**2, axis=1, keepdims=True))


def bias_rms(d):
    return d / np.sqrt(np.mean(d**2))
