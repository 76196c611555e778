"""LionMuon, from the authors' code (arXiv 2605.19811), fixed period. EXACT.

D = b1 M + (1 - b1) G;  every P-th step from the first on: W <- (1 - eta lambda) W - eta 0.2 sqrt(max(m, n)) orth(D)
else W <- (1 - eta_L lambda) W - eta_L sign(D);  always M <- b2 M + (1 - b2) G
"""

import numpy as np


def lion_muon(w, gradients, orth, *, learning_rate, sign_rate, period, b1=0.9, b2=0.99, weight_decay=0.1):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m = np.zeros_like(w)
    for t, g in enumerate(gradients):
        d = b1 * m + (1 - b1) * g
        if t % period == 0:
            rate, direction = learning_rate, 0.2 * np.sqrt(max(w.shape)) * orth(d)
        else:
            rate, direction = sign_rate, np.sign(d)
        w = (1 - rate * weight_decay) * w - rate * direction
        m = b2 * m + (1 - b2) * g
    return w
