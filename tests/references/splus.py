"""SPlus, from the authors' Optax code (arXiv 2506.07254). EXACT.

M <- b1 M + (1 - b1) G;  U = Q_L sign(Q_L^T M Q_R) Q_R^T with the old bases, I at first
L <- b2 L + (1 - b2) G G^T, R likewise; bases = their eigenvectors after steps 1 and every f-th
E <- r E + (1 - r) W;  W <- W - eta 2 / (m + n) (U + lambda W);  evaluated at E / (1 - r^t)
"""

import numpy as np

from tests.references.soap import into


def splus(
    w,
    gradients,
    *,
    learning_rate,
    momentum,
    second_moment_decay,
    refresh_every,
    max_side,
    average_decay,
    weight_decay,
    final="params",
):
    """Run over ``gradients`` from ``w``, both (out, in); ``final="average"`` gives the average of the weights."""
    w, m, e = np.array(w, np.float64), np.zeros_like(w), np.zeros_like(w)
    sides = [axis for axis in (0, 1) if w.shape[axis] < max_side]
    factor, basis = {axis: 0.0 for axis in sides}, {}
    for t, g in enumerate(gradients, start=1):
        m = momentum * m + (1 - momentum) * g
        e = average_decay * e + (1 - average_decay) * w
        u = into(np.sign(into(m, basis)), {axis: q.T for axis, q in basis.items()})
        scale = 2 / sum(w.shape) if max(w.shape) < max_side else 0.001
        w = w - learning_rate * scale * (u + weight_decay * w)
        for axis in sides:
            factor[axis] = second_moment_decay * factor[axis] + (1 - second_moment_decay) * (
                g @ g.T if axis == 0 else g.T @ g
            )
            if t == 1 or t % refresh_every == 0:
                basis[axis] = np.linalg.eigh(factor[axis])[1]
    return e / (1 - average_decay ** len(gradients)) if final == "average" else w
