"""MiMuon (arXiv 2605.19619). PARTIAL: the gate on gaps is the paper's as restated, that on the norm another code's.

M <- mu M + (1 - mu) G;  kappa = smallest gap between nonzero singular values of M
W <- (1 - eta lambda) W - eta (U V^T if kappa >= tau (or |M|_F >= tau) else M)
"""

import numpy as np


def mimuon(w, gradients, orth, *, learning_rate, tau, gap, momentum=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        s = np.linalg.svd(m, compute_uv=False)
        s = s[s > max(m.shape) * np.finfo(float).eps * s.max()]
        measure = np.min(-np.diff(s), initial=np.inf) if gap else np.linalg.norm(m)
        w = (1 - learning_rate * weight_decay) * w - learning_rate * (orth(m) if measure >= tau else m)
    return w
