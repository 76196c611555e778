"""Adaptive Muon, our guess at Gratton and Toint (arXiv 2604.17423), OUR READING.

M_0 = G_0, M <- mu M + (1 - mu) G;  S <- S + G G^T on the smaller side;  W <- W - eta (S^-1/2 M + lambda W)
"""

import numpy as np

from tests.references.kl_shampoo import power


def adaptive_muon(w, gradients, *, learning_rate, momentum=0.9, start=0.0, weight_decay=0.0):
    """Walk one matrix (out, in) through all gradients."""
    out, fan_in = w.shape
    m, s = gradients[0], start * np.eye(min(w.shape))
    for i, g in enumerate(gradients):
        m = g if i == 0 else momentum * m + (1 - momentum) * g
        # Equal sides: the library takes the reduction side, the input's.
        s = s + (g.T @ g if fan_in <= out else g @ g.T)
        u = m @ power(s, -0.5) if fan_in <= out else power(s, -0.5) @ m
        w = w - learning_rate * (u + weight_decay * w)
    return w
