"""Symmetry-compatible rules (arXiv 2605.18106), from the published table. EXACT, without epsilon.

Matrices are stored with their items as rows: (vocabulary, width), (experts, width), gate and up (neurons, width);
a down projection (width, neurons) is transposed first.

    M <- mu M + (1 - mu) G;  W <- (1 - eta lambda) W - eta rate D(M)
"""

import numpy as np


def run(w, gradients, rule, *, learning_rate, rate=1.0, momentum=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``; M starts at zero."""
    w, m = np.array(w, np.float64), np.zeros_like(w, np.float64)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        w = (1 - learning_rate * weight_decay) * w - learning_rate * rate * rule(m)
    return w


def muon_without_look_ahead(orth):
    return lambda m: np.sqrt(max(1.0, m.shape[0] / m.shape[1])) * orth(m)


def row_norm(m):
    return m / np.linalg.norm(m, axis=1, keepdims=True)


def polar(orth, power):
    return lambda m: np.sum(m * orth(m)) ** power * orth(m)


def center(m):
    return m - m.mean(axis=0, keepdims=True)


def row_then_polar(orth, power):
    return lambda m: polar(orth, power)(row_norm(m))


def polar_then_row(orth):
    return lambda m: row_norm(orth(m))


def centered(*rules):
    def composed(m):
        m = center(m)
        for rule in rules:
            m = center(rule(m))
        return m

    return composed
