"""MuAdam and MuAdam-SANIA (arXiv 2510.10777), the form of the lab's code. PARTIAL.

M <- b1 M + (1 - b1) G;  V <- b2 V + (1 - b2) G^2;  s = (sqrt(V / (1 - b2^t)) + eps)^1/2 or (V / (1 - b2^t) + eps)^1/2
W <- W - eta (sqrt(max(1, out/in)) orth(M / s) / s + lambda W), times 1 - sqrt(1 - min(V, 1)) in the damped form
"""

import numpy as np


def muadam(
    w, gradients, *, orth, learning_rate, momentum, second_moment_decay, form="adam", eps=1e-8, weight_decay=0.0
):
    """Run over ``gradients`` from ``w``, both (out, in)."""
    w, m, v = np.array(w, np.float64), np.zeros_like(w), np.zeros_like(w)
    scale = np.sqrt(max(1.0, w.shape[0] / w.shape[1]))
    for t, g in enumerate(gradients, start=1):
        m = momentum * m + (1 - momentum) * g
        v = second_moment_decay * v + (1 - second_moment_decay) * g**2
        hat = v / (1 - second_moment_decay**t)
        s = np.sqrt(np.sqrt(hat) + eps) if form == "adam" else np.sqrt(hat + eps)
        damped = 1 - np.sqrt(1 - np.minimum(hat, 1)) if form == "sania_damped" else 1
        w = w - learning_rate * (damped * scale * orth(m / s) / s + weight_decay * w)
    return w
