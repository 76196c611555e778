"""Conda, the form of the authors' code (arXiv 2509.24218). EXACT.

M <- mu M + (1 - mu) G;  every T steps, the first included: Q = singular vectors of M, left where m < n, else right
V <- b V + (1 - b) (Q^T G)^2;  U = Q (Q^T M / (sqrt(V) + eps)) sqrt(1 - b^t) / (1 - mu^t)
W <- W - eta (0.25 U + lambda W)
"""

import numpy as np


def conda(
    w,
    gradients,
    *,
    learning_rate,
    momentum,
    second_moment_decay,
    refresh_every,
    scale=0.25,
    eps=1e-8,
    weight_decay=0.0,
    basis=None,
):
    """Run over ``gradients`` from ``w``, both (out, in); ``basis`` is kept, where one is given."""
    w, m, v = np.array(w, np.float64), np.zeros_like(w), np.zeros_like(w)
    right = w.shape[0] >= w.shape[1]
    for t, g in enumerate(gradients, 1):
        m = momentum * m + (1 - momentum) * g
        if basis is None and (t - 1) % refresh_every == 0:
            u, _, vh = np.linalg.svd(m, full_matrices=False)
            q = vh.T if right else u
        elif basis is not None:
            q = basis
        into = (lambda x: x @ q) if right else (lambda x: q.T @ x)  # noqa: B023
        back = (lambda x: x @ q.T) if right else (lambda x: q @ x)  # noqa: B023
        v = second_moment_decay * v + (1 - second_moment_decay) * into(g) ** 2
        step = np.sqrt(1 - second_moment_decay**t) / (1 - momentum**t)
        w = w - learning_rate * (scale * back(step * into(m) / (np.sqrt(v) + eps)) + weight_decay * w)
    return w
