"""Adam-mini (arXiv 2406.16793): Adam with one second moment for every output, or for the whole matrix. PARTIAL.

M <- mu M + (1 - mu) G;  v <- b v + (1 - b) mean of G * G over the block
W <- (1 - eta lambda) W - eta (M / (1 - mu^t)) / (sqrt(v / (1 - b^t)) + eps)
"""

import numpy as np


def adam_mini(
    w, gradients, *, learning_rate, block="output", momentum=0.9, second_moment_decay=0.95, eps=1e-8, weight_decay=0.0
):
    """Run over ``gradients`` from weights ``w``, both (out, in); everything starts at zero."""
    axes = {"output": 1, "reduction": 0, "both": (0, 1), "entry": ()}[block]
    m, v = np.zeros_like(w), 0.0
    for t, g in enumerate(gradients, start=1):
        m = momentum * m + (1 - momentum) * g
        v = second_moment_decay * v + (1 - second_moment_decay) * np.mean(g * g, axis=axes, keepdims=True)
        step = m / (1 - momentum**t) / (np.sqrt(v / (1 - second_moment_decay**t)) + eps)
        w = (1 - learning_rate * weight_decay) * w - learning_rate * step
    return w
