"""Shampoo with averaged factors: the power form (arXiv 1802.09568) and the square-root form (2406.17748). EXACT.

L <- b L + (1 - b) G G^T;  R <- b R + (1 - b) G^T G;  both over 1 - b^t where they are used;  M <- mu M + (1 - mu) G
square root: U = sqrt(tr L) L^-1/2 M R^-1/2;  power: U = L^-1/4 M R^-1/4;  W <- W - eta (U + lambda W)
Inverse roots of L + eps tr(L) / m I, of R likewise.
"""

import numpy as np


def shampoo(
    w, gradients, *, learning_rate, exponent, momentum=0.9, second_moment_decay=0.95, eps=1e-6, refresh_every=1,
    weight_decay=0.0,
):  # fmt: skip
    """Run over ``gradients`` from weights ``w``, both (out, in); everything starts at zero."""
    m, left, right = np.zeros_like(w), 0.0, 0.0
    for t, g in enumerate(gradients):
        left = second_moment_decay * left + (1 - second_moment_decay) * g @ g.T
        right = second_moment_decay * right + (1 - second_moment_decay) * g.T @ g
        if t % refresh_every == 0:
            now = [x / (1 - second_moment_decay ** (t + 1)) for x in (left, right)]
            a, b = (damped(x, exponent, eps) for x in now)
            size = np.sqrt(np.trace(now[0])) if exponent == 0.5 else 1.0
        m = momentum * m + (1 - momentum) * g
        w = w - learning_rate * (size * a @ m @ b + weight_decay * w)
    return w


def damped(x, exponent, eps):
    """Give the inverse power of a factor with a part of its mean eigenvalue added."""
    values, basis = np.linalg.eigh(x)
    return (basis * (values + eps * np.trace(x) / len(x)) ** -exponent) @ basis.T
