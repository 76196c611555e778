"""KL-Shampoo (arXiv 2509.03378), with factors seeded by the first gradient's RMS and exact eigenbases. EXACT otherwise.

S_a <- b S_a + (1 - b) / n G S_b^-1 G^T;  S_b <- b S_b + (1 - b) / m G^T S_a^-1 G, both from the old ones
M <- mu M + (1 - mu) G;  W <- W - eta (S_a^-1/2 M S_b^-1/2 + lambda W)
"""

import numpy as np


def power(s, p):
    """S^p of a positive definite matrix."""
    values, q = np.linalg.eigh(s)
    return q * values**p @ q.T


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
