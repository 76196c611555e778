"""LoRA-Muon, EXACT: arXiv 2606.12921, algorithm 1; factors A (m, r) and B (n, r) of W = A B^T, W as (out, in).

The inverse roots are those of the Gram matrices themselves, where the authors have a polynomial.
"""

import numpy as np

from tests.references.polar import polar


def inverse_root(x):
    """(X^T X)^(-1/2)."""
    values, q = np.linalg.eigh(x.T @ x)
    return (q / np.sqrt(values)) @ q.T


def lora_muon(a, b, gradients, *, learning_rate, momentum=0.95, adapter_scale=1.0, weight_decay=0.0):
    """Walk both factors through all gradients, pairs of those of A and B."""
    m_a, m_b = np.zeros_like(a), np.zeros_like(b)
    for g_a, g_b in gradients:
        m_a = momentum * m_a + (1 - momentum) * g_a
        m_b = momentum * m_b + (1 - momentum) * g_b
        r_a, r_b = inverse_root(a), inverse_root(b)
        half = learning_rate / (2 * adapter_scale)
        d_a, d_b = -half * polar(m_a @ r_b) @ r_b, -half * polar(m_b @ r_a) @ r_a
        s = np.sqrt(1 - weight_decay * learning_rate)
        a, b = s * a + d_a / s, s * b + d_b / s
    return a, b
