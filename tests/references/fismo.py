"""FISMO, from a port (arXiv 2601.21750), with factors seeded by the first gradient's RMS. PARTIAL.

P, Q: the factors of `kl_shampoo`, and each is brought to trace m, n where it is used
M <- mu M + P^-1/2 G Q^-1/2;  W <- (1 - eta lambda) W - eta 0.2 sqrt(max(m, n)) P^-1/2 orth(M) Q^-1/2
"""

import numpy as np

from tests.references.kl_shampoo import power


def fismo(w, gradients, orth, *, learning_rate, momentum=0.95, second_moment_decay=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m, (out, fan_in), b = np.zeros_like(w), w.shape, second_moment_decay
    rms = np.sqrt(np.mean(gradients[0] ** 2))
    p, q = rms * np.eye(out), rms * np.eye(fan_in)
    for g in gradients:
        p, q = (
            b * p + (1 - b) / fan_in * g @ np.linalg.inv(q) @ g.T,
            b * q + (1 - b) / out * g.T @ np.linalg.inv(p) @ g,
        )
        left, right = (power(x * len(x) / np.trace(x), -0.5) for x in (p, q))
        m = momentum * m + left @ g @ right
        step = 0.2 * np.sqrt(max(w.shape)) * left @ orth(m) @ right
        w = (1 - learning_rate * weight_decay) * w - learning_rate * step
    return w
