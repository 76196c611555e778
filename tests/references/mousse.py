"""Mousse, from the authors' code (arXiv 2603.09697). EXACT.

L <- b L + (1 - b) G G^T;  R <- b R + (1 - b) G^T G;  every T steps, at t = 1, T + 1, ...:
Lh = L / (1 - b^t);  Lh *= m / tr(Lh);  eigenvalues of Lh + eps I, shifted so that the least is eps or more;  R likewise
M <- mu M + G;  X = Lh^-a M Rh^-a;  O = orth(X);  D = Lh^-a O Rh^-a;  D *= |O|_F / |D|_F
W <- (1 - eta lambda) W - eta sqrt(out / in) D
"""

import numpy as np


def root(factor, exponent, eps):
    """Give the inverse power of a factor of mean eigenvalue 1."""
    even = factor * len(factor) / np.trace(factor)
    values, basis = np.linalg.eigh(even + eps * np.eye(len(factor)))
    values = values + max(0, eps - values.min())
    return (basis * values**-exponent) @ basis.T


def mousse(
    w, gradients, orth, *, learning_rate, exponent=0.125, second_moment_decay=0.95, refresh_every=10, eps=1e-5,
    momentum=0.95, weight_decay=0.0, sides=("output", "reduction"),
):  # fmt: skip
    """Run over ``gradients`` from weights ``w``, both (out, in); everything starts at zero."""
    m, left, right = np.zeros_like(w), np.zeros((len(w), len(w))), np.zeros((w.shape[1], w.shape[1]))
    for t, g in enumerate(gradients):
        left = second_moment_decay * left + (1 - second_moment_decay) * g @ g.T
        right = second_moment_decay * right + (1 - second_moment_decay) * g.T @ g
        if t % refresh_every == 0:
            a = root(left, exponent, eps) if "output" in sides else np.eye(len(w))
            b = root(right, exponent, eps) if "reduction" in sides else np.eye(w.shape[1])
        m = momentum * m + g
        o = orth(a @ m @ b)
        d = a @ o @ b
        d = d * np.linalg.norm(o) / np.linalg.norm(d)
        scale = np.sqrt(w.shape[0] / w.shape[1])
        w = (1 - learning_rate * weight_decay) * w - learning_rate * scale * d
    return w
