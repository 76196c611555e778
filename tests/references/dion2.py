"""Dion2 and Dion3, from the authors' code (arXiv 2512.16928; dion2.py and nordion2.py), global selection. EXACT.

M <- M + G;  k = max(1, ceil(fraction size));  S = the k slices of largest l1 norm of M
U = orth(M[S]);  M[S] <- mu M[S];  W <- (1 - eta lambda) W;  W[S] -= eta sqrt(out / in) U
Slices of Dion2: rows of (out, in) where out <= in, else columns. Dion3: always rows, and
v[S] <- b v[S] + (1 - b) rowmean(U * U);  Y = U / (sqrt(v[S]) + eps);  U <- Y |U|_F / (|Y|_F + eps)
"""

import math

import numpy as np


def dion2(w, gradients, orth, *, learning_rate, fraction=0.25, momentum=0.95, weight_decay=0.01):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m, scale = np.zeros_like(w), np.sqrt(w.shape[0] / w.shape[1])
    turned = w.shape[0] > w.shape[1]
    for g in gradients:
        m = m + g
        view = m.T if turned else m
        chosen = heaviest(view, fraction)
        u = np.zeros_like(view)
        u[chosen] = orth(view[chosen])
        view[chosen] *= momentum
        w = (1 - learning_rate * weight_decay) * w - learning_rate * scale * (u.T if turned else u)
    return w


def dion3(
    w, gradients, orth, *, learning_rate, fraction=0.25, momentum=0.95, second_moment_decay=0.95, eps=1e-8,
    weight_decay=0.01,
):  # fmt: skip
    """Run over ``gradients`` from weights ``w``, both (out, in); M and v start at zero."""
    m, v, scale = np.zeros_like(w), np.zeros((len(w), 1)), np.sqrt(w.shape[0] / w.shape[1])
    for g in gradients:
        m = m + g
        chosen = heaviest(m, fraction)
        u = orth(m[chosen])
        m[chosen] *= momentum
        squares = np.mean(u * u, axis=1, keepdims=True)
        v[chosen] = second_moment_decay * v[chosen] + (1 - second_moment_decay) * squares
        y = u / (np.sqrt(v[chosen]) + eps)
        y = y * np.linalg.norm(u) / (np.linalg.norm(y) + eps)
        w = (1 - learning_rate * weight_decay) * w
        w[chosen] -= learning_rate * scale * y
    return w


def heaviest(m, fraction):
    """Give the rows of largest l1 norm."""
    count = max(1, math.ceil(fraction * len(m)))
    return np.argsort(-np.sum(np.abs(m), axis=1), kind="stable")[:count]
