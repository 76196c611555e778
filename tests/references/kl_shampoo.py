"""KL-Shampoo (arXiv 2509.03378), with factors seeded by the first gradient's RMS and exact eigenbases. EXACT otherwise.

S_a <- b S_a + (1 - b) / n G S_b^-1 G^T;  S_b <- b S_b + (1 - b) / m G^T S_a^-1 G, both from the old ones
M <- mu M + (1 - mu) G;  W <- W - eta (S_a^-1/2 M S_b^-1/2 + lambda W)
"""

import numpy as np


def power(s, p):
    """S^p of a positive definite matrix."""
    values, q = np.linalg.eigh(s)
    return q * values**p @ q.T


def lagged(
    w,
    gradients,
    *,
    learning_rate,
    momentum,
    second_moment_decay,
    refresh_every,
    eps=1e-8,
    initial=0.1,
    weight_decay=0.0,
):
    """Run the authors' code over ``gradients`` from ``w``, both (out, in). EXACT, but for the order of weight decay.

    First gradient: S_a = (1 - b) / n G G^T, Q_a its eigenvectors, d_a = 0.1, likewise b; no step, and no momentum.
    Later ones: M <- mu M + (1 - mu) G;  W <- W - eta (Q_a (Q_a^T M Q_b / (sqrt(d_a d_b) + eps)) Q_b^T + lambda W);
    S_a as above with S_b^-1 = Q_b diag(1 / d_b) Q_b^T;  d_a <- b d_a + (1 - b) / n diag(P diag(1 / d_b) P^T),
    P = Q_a^T G Q_b, at least 1 / max(10, min(m, 4000))^2;  every T-th: Q_a <- QR(S_a Q_a).
    """
    w, moment = np.array(w, np.float64), np.zeros_like(w)
    m, n = w.shape
    b = second_moment_decay
    first = gradients[0]
    s = [(1 - b) / n * first @ first.T, (1 - b) / m * first.T @ first]
    q = [np.linalg.eigh(x)[1][:, ::-1] for x in s]
    d = [np.full(m, initial), np.full(n, initial)]
    least = [max(10, min(size, 4000)) ** -2.0 for size in (m, n)]
    for t, g in enumerate(gradients[1:], start=1):
        moment = momentum * moment + (1 - momentum) * g
        inside = q[0].T @ moment @ q[1] / (np.sqrt(np.outer(*d)) + eps)
        w = w - learning_rate * (q[0] @ inside @ q[1].T + weight_decay * w)
        p, old = q[0].T @ g @ q[1], d
        s[0] = b * s[0] + (1 - b) / n * g @ (q[1] / old[1]) @ q[1].T @ g.T
        s[1] = b * s[1] + (1 - b) / m * g.T @ (q[0] / old[0]) @ q[0].T @ g
        seen = [(p**2 / old[1]).mean(1), (p**2 / old[0][:, None]).mean(0)]
        d = [np.maximum(b * x + (1 - b) * y, z) for x, y, z in zip(old, seen, least, strict=True)]
        if t % refresh_every == 0:
            q = [np.linalg.qr(x @ y)[0] for x, y in zip(s, q, strict=True)]
    return w


def kl_shampoo(w, gradients, *, learning_rate, momentum, second_moment_decay, weight_decay=0.0):
    """Run over ``gradients`` from ``w``, both (out, in)."""
    w, moment = np.array(w, np.float64), np.zeros_like(w)
    m, n = w.shape
    rms = np.sqrt(np.mean(gradients[0] ** 2))
    a, b = rms * np.eye(m), rms * np.eye(n)
    for g in gradients:
        new_a = second_moment_decay * a + (1 - second_moment_decay) / n * g @ np.linalg.inv(b) @ g.T
        b = second_moment_decay * b + (1 - second_moment_decay) / m * g.T @ np.linalg.inv(a) @ g
        a = new_a
        moment = momentum * moment + (1 - momentum) * g
        w = w - learning_rate * (power(a, -0.5) @ moment @ power(b, -0.5) + weight_decay * w)
    return w
