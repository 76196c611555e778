"""SOAP, from the authors' rule (arXiv 2409.11321, algorithm 3), on W - eta (N + lambda W). EXACT but for the decay.

first call: L, R, their eigenvectors Q, no step.  Then with G' = Q_L^T G Q_R:
M <- b1 M + (1 - b1) G (kept unrotated here);  V <- b2 V + (1 - b2) G'^2;  N' = Adam's quotient of Q_L^T M Q_R, V
W <- W - eta (Q_L N' Q_R^T + lambda W);  L <- b L + (1 - b) G G^T;  R likewise
every f-th call: Q <- QR of S Q with columns in the order of diag(Q^T S Q), V's axes in that order too
"""

import numpy as np


def soap(
    w, gradients, *, learning_rate, momentum, second_moment_decay, decay, refresh_every, max_side, weight_decay=0.0
):
    """Run over ``gradients`` from ``w``, both (out, in)."""
    w = np.array(w, np.float64)
    sides = [axis for axis in (0, 1) if w.shape[axis] <= max_side]
    factor = {axis: np.zeros((w.shape[axis],) * 2) for axis in sides}
    basis = {}
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients):
        if t > 0:
            m, turned = momentum * m + (1 - momentum) * g, into(g, basis)
            v = second_moment_decay * v + (1 - second_moment_decay) * turned**2
            n = into(m, basis) / (1 - momentum**t) / np.sqrt(v / (1 - second_moment_decay**t))
            w = w - learning_rate * (into(n, {axis: q.T for axis, q in basis.items()}) + weight_decay * w)
        for axis in sides:
            factor[axis] = decay * factor[axis] + (1 - decay) * (g @ g.T if axis == 0 else g.T @ g)
            if t == 0:
                basis[axis] = np.linalg.eigh(factor[axis])[1][:, ::-1]
            elif t % refresh_every == 0:
                product = factor[axis] @ basis[axis]
                order = np.argsort(-np.sum(basis[axis] * product, axis=0))
                basis[axis] = np.linalg.qr(product[:, order])[0]
                v = np.take(v, order, axis=axis)
    return w


def into(x, basis):
    """Q_0^T X Q_1, for the axes that have a basis."""
    x = basis[0].T @ x if 0 in basis else x
    return x @ basis[1] if 1 in basis else x
