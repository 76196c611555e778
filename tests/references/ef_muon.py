"""EF-Muon, from the authors' notebooks (arXiv 2605.08980). EXACT.

M <- mu M + (1 - mu) G;  P = gamma M + E;  Delta = |P|_* / rank(P) orth(P);  W <- W - Delta;  E <- P - Delta
"""

import numpy as np


def ef_muon(w, gradients, *, learning_rate, momentum):
    """Run over ``gradients`` from ``w``, both (out, in); M and E start at zero."""
    w, m, e = np.array(w, np.float64), np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        p = learning_rate * m + e
        u, s, vh = np.linalg.svd(p, full_matrices=False)
        rank = np.linalg.matrix_rank(p)
        delta = s.sum() / rank * u[:, :rank] @ vh[:rank]
        w, e = w - delta, p - delta
    return w
