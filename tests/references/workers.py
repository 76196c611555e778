"""Methods of many workers as their papers write them: all workers' matrices in one stack, mixing by a dense matrix.

Stacks are (workers, in, out) as the harness has them; no rule here depends on which side is which.
"""

import numpy as np


def polar(x):
    """Polar factors of a stack, by its definition."""
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return u @ vh


def gradients(weights, data, step, pull=0.3):
    """What each worker sees at its own weights."""
    return data[:, step] + pull * weights


def ring(n, weight):
    """A ring's mixing matrix, each neighbour with this weight; for two workers both are one."""
    w = np.zeros((n, n))
    for i in range(n):
        w[i, i] += 1 - 2 * weight
        w[i, (i + 1) % n] += weight
        w[i, (i - 1) % n] += weight
    return w


def mixed(w, x):
    return np.einsum("ij,jkl->ikl", w, x)


def sign_muon(x, data, *, rate, momentum):
    """Mishra et al., SignMuon, arXiv 2605.16311, EXACT/second: a majority of signs of polar factors."""
    m = np.zeros_like(x)
    for t in range(data.shape[1]):
        m = momentum * m + (1 - momentum) * gradients(x, data, t)
        x = x - rate * np.sign(np.sign(polar(m)).sum(axis=0))
    return x
