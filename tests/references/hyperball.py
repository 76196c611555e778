"""Hyperball, from NVIDIA's code and the authors' blog (arXiv 2606.16899). EXACT.

R = |W_0|_F;  u any update before the rate;  W <- R unit(W - eta R unit(u)), unit(x) = x / |x|_F
"""

import numpy as np


def unit(x):
    """Divide by the Frobenius norm."""
    return x / np.linalg.norm(x)


def hyperball(w, gradients, rule, *, learning_rate):
    """Run over ``gradients`` from weights ``w``; ``rule(gradients so far)`` is the base update, ascending."""
    radius = np.linalg.norm(w)
    for t in range(1, len(gradients) + 1):
        w = radius * unit(w - learning_rate * radius * unit(rule(gradients[:t])))
    return w


def average(gradients, momentum, nesterov=False):
    """Average gradients from zero, with a look ahead where asked for."""
    m = np.zeros_like(gradients[0])
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
    return momentum * m + (1 - momentum) * gradients[-1] if nesterov else m
