"""Gluon, from its published rule (arXiv 2505.13416). EXACT, but for the start of the momentum, which is ours.

M <- beta_k M + (1 - beta_k) G, M_0 = G_0;  W <- W - eta_k t lmo(M)
t fixed, or t = d / (L0 + L1 d) with d the dual norm of M
    stochastic: eta_k = t (k+1)^(-3/4), beta_k = 1 - (k+1)^(-1/2)
"""

import numpy as np


def gluon(w, gradients, lmo, *, rates, momenta, radius):
    """Run over ``gradients`` with a rate and a momentum per step; ``radius`` is a function of the dual norm."""
    w, m = np.array(w, np.float64), np.array(gradients[0], np.float64)
    for k, g in enumerate(gradients):
        m = g if k == 0 else momenta[k] * m + (1 - momenta[k]) * g
        y = lmo(m)
        w = w - rates[k] * radius(np.sum(m * y)) * y
    return w
