"""Proximal spectral preconditioning (arXiv 2605.11850). PARTIAL: the abstract, and the proximal step derived by us.

M EMA = U S V^T;  Y = W - eta U h(S) V^T, h(s) = s / (eps^k + s^k)^(1/k);  W <- clip of Y's singular values at R
"""

import numpy as np


def mapped(x, function):
    """Apply a function to the singular values."""
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    return (u * function(s)) @ vh


def proximal_muon(w, gradients, *, learning_rate, radius=1.0, eps=1e-3, kappa=4.0, momentum=0.95):
    """Run over ``gradients`` from weights ``w``, both (out, in)."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        w = w - learning_rate * mapped(m, lambda s: s / (eps**kappa + s**kappa) ** (1 / kappa))
        w = mapped(w, lambda s: np.minimum(s, radius))
    return w
