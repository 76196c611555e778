"""LiMuon, option 1, as restated (arXiv 2509.14562). EXACT.

M_1 = G_1;  M <- G + mu (M - G_prev);  W <- W - eta (orth(M) + lambda W)
"""

import numpy as np


def limuon(w, gradients, grads_at_previous_params, *, orth, learning_rate, momentum, weight_decay=0.0):
    """Run over ``gradients`` from ``w``, both (out, in)."""
    w, m = np.array(w, np.float64), None
    for g, before in zip(gradients, grads_at_previous_params, strict=True):
        m = g if m is None else g + momentum * (m - before)
        w = w - learning_rate * (orth(m) + weight_decay * w)
    return w
