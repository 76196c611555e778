"""DP-Muon, Kim and Fan, arXiv 2605.12994, PARTIAL: the rule was seen in one secondary transcription.

H_z = G_z / max(1, |G_z|_F / C);  G = mean H_z + noise;  M <- mu M + G;  Y = M / max(1, |M|_F)
q times: Y <- p(Y Y^T) Y, p(x) = sum_{s <= kappa} (2s)! / (4^s s!^2) (1 - x)^s;  W <- W - eta Y
"""

from math import factorial

import numpy as np


def taylor(y, kappa, steps):
    """Apply p_kappa so many times."""
    for _ in range(steps):
        rest = np.eye(len(y)) - y @ y.T
        p = sum(
            factorial(2 * s) / (4**s * factorial(s) ** 2) * np.linalg.matrix_power(rest, s) for s in range(kappa + 1)
        )
        y = p @ y
    return y


def clipped_mean(examples, clip):
    """Average gradients, an example at a time."""
    return sum(g / max(1.0, np.linalg.norm(g) / clip) for g in examples) / len(examples)


def dp_muon(w, gradients, *, learning_rate, momentum=0.9, kappa=2, steps=5, weight_decay=0.0):
    """Walk one matrix (out, in) through all gradients, which are private already."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + g
        y = taylor(m / max(1.0, np.linalg.norm(m)), kappa, steps)
        w = w - learning_rate * (y + weight_decay * w)
    return w
