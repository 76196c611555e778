"""Muon-OGD, algorithm 2 of arXiv 2605.08949 and the authors' scripts. EXACT, but for the unit of the dual rate.

M EMA, m its root mean square singular value; V (in, k), U (out, l) orthonormal, in the paper's order U (out) and V (in)
T times: S = orth(M + U Lam V^T);  Lam <- Lam - rho m U^T S V     (Lam kept in units of m)
W <- (1 - eta lambda) W - eta orth(M + U Lam V^T)
"""

import numpy as np

from tests.references.polar import polar


def muon_ogd(
    w, gradients, *, learning_rate, inputs, outputs=None, momentum=0.0, dual_steps=5, dual_rate=0.05, weight_decay=0.0
):
    """Run over ``gradients`` from weights ``w``, both (out, in); multipliers are kept between steps."""
    u = np.eye(w.shape[0]) if outputs is None else outputs
    m, lam = np.zeros_like(w), np.zeros((u.shape[1], inputs.shape[1]))
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        size = np.linalg.norm(m) / np.sqrt(min(m.shape))
        for _ in range(dual_steps):
            lam = lam - dual_rate * u.T @ polar(m / size + u @ lam @ inputs.T) @ inputs
        d = polar(m / size + u @ lam @ inputs.T)
        w = (1 - learning_rate * weight_decay) * w - learning_rate * d
    return w
