"""Intrinsic Muon, EXACT: arXiv 2605.09238; the fixed rank in the form with QR decompositions, W = B A as (out, in)."""

import numpy as np

from tests.references.polar import polar


def fixed_rank(b, a, gradients, *, learning_rate, momentum=0.0):
    """Walk the factors B (m, r) and A (r, n) through all gradients, pairs of those of B and A."""
    m_b, m_a = np.zeros_like(b), np.zeros_like(a)
    for g_b, g_a in gradients:
        m_b = momentum * m_b + (1 - momentum) * g_b
        m_a = momentum * m_a + (1 - momentum) * g_a
        r_a, r_b = np.linalg.qr(a.T)[1], np.linalg.qr(b)[1]
        x_b = polar(m_b @ np.linalg.inv(r_a)) @ np.linalg.inv(r_a).T
        x_a = np.linalg.inv(r_b) @ polar(np.linalg.inv(r_b).T @ m_a)
        b, a = b - learning_rate * x_b, a - learning_rate * x_a
    return b, a


def stiefel(w, gradients, *, learning_rate, momentum=0.0):
    """Walk one matrix, with orthonormal columns or rows from the first step on, through all gradients."""
    # A square matrix is seen as Flax stores it, (in, out): off the manifold, where the first step starts, that counts.
    turned = w.shape[0] <= w.shape[1]
    if turned:
        w, gradients = w.T, [g.T for g in gradients]
    average = np.zeros_like(w)
    for g in gradients:
        average = momentum * average + (1 - momentum) * g
        within = w.T @ average
        out = polar(average - w @ within) if w.shape[0] > w.shape[1] else np.zeros_like(w)
        out = out - w @ (w.T @ out)  # nothing on the manifold
        w = polar(w - learning_rate * (w @ polar((within - within.T) / 2) + out))
    return w.T if turned else w
