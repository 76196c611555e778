"""COSMOS, from the authors' code (arXiv 2502.17410). EXACT.

M <- b1 M + G;  N = (G + b1 M) / (1 + b1 c1),  c1 = (1 - b1^t) / (1 - b1)
first: P leading eigenvectors of G^T G, S = (1 - b2) (G P)^T (G P);  then P' = QR(b2 P S + (1 - b2) G^T G P),
S = b2 T^T S T + (1 - b2) (G P')^T (G P'),  T = P^T P';  v <- b2 v + (1 - b2) (G P)^2
A = (N P / (sqrt(v / (1 - b2^t)) + 1e-8)) P^T;  B = orth(N - N P P^T) at norm sqrt(mn);  D = A + gamma B
W <- (1 - eta lambda) W - eta ratio sqrt(mn) D / |D|_F
"""

import numpy as np


def cosmos(w, gradients, *, orth, learning_rate, momentum, second_moment_decay, rank, gamma, ratio, weight_decay=0.0):
    """Run over ``gradients`` from ``w``, both (out, in)."""
    w, m = np.array(w, np.float64), np.zeros_like(w)
    size, k, beta = np.sqrt(w.size), min(rank, w.shape[1]), second_moment_decay
    v = np.zeros((w.shape[0], k))
    for t, g in enumerate(gradients, start=1):
        m = momentum * m + g
        if t == 1:
            p = np.linalg.eigh(g.T @ g)[1][:, ::-1][:, :k]
            s = (1 - beta) * (g @ p).T @ (g @ p)
        else:
            old, p = p, np.linalg.qr(beta * p @ s + (1 - beta) * g.T @ (g @ p))[0]
            change = old.T @ p
            s = beta * change.T @ s @ change + (1 - beta) * (g @ p).T @ (g @ p)
        v = beta * v + (1 - beta) * (g @ p) ** 2
        n = (g + momentum * m) / (1 + momentum * (1 - momentum**t) / (1 - momentum))
        d = n @ p / (np.sqrt(v / (1 - beta**t)) + 1e-8) @ p.T
        if k < w.shape[1]:
            rest = orth(n - n @ p @ p.T)
            d = d + gamma * size * rest / np.linalg.norm(rest)
        w = (1 - learning_rate * weight_decay) * w - learning_rate * ratio * size * d / np.linalg.norm(d)
    return w
