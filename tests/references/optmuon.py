"""OptMuon, both options and both versions, as restated (arXiv 2606.08783). EXACT; one matrix is one loop.

raw = ((1 + max g^2) / (1 + sum g^2))^q;  rho = raw (2) or its minimum so far (1);  alpha_t = rho_{t-1}, rho_0 = 1
A, q = 1/2: M <- G + (1 - alpha) M;  gamma = min(alpha^2, alpha / sqrt(1 + sum alpha^a |M|^2)), a = 2 (1) or 1 (2)
I, q = 2/3: M <- (1 - alpha) (M - G_prev) + G;  gamma = min(sqrt(alpha), 1 / sqrt(1 + sum alpha^-1/2 |M|^2))
W <- W - theta gamma |M|_F orth(M)
"""

import numpy as np


def optmuon(w, gradients, grads_at_previous_params=None, *, orth, learning_rate, form="A", version=2):
    """Run over ``gradients`` from ``w``, both (out, in)."""
    w, m = np.array(w, np.float64), np.zeros_like(w)
    norms, rho, weighted = [], 1.0, 0.0
    for t, g in enumerate(gradients):
        alpha = rho
        norms.append(np.linalg.norm(g) ** 2)
        raw = ((1 + max(norms)) / (1 + sum(norms))) ** (1 / 2 if form == "A" else 2 / 3)
        rho = min(rho, raw) if version == 1 else raw
        if form == "A":
            m = g + (1 - alpha) * m
            weighted += alpha ** (2 if version == 1 else 1) * np.linalg.norm(m) ** 2
            gamma = min(alpha**2, alpha / np.sqrt(1 + weighted))
        else:
            m = (1 - alpha) * (m - grads_at_previous_params[t]) + g
            weighted += alpha**-0.5 * np.linalg.norm(m) ** 2
            gamma = min(np.sqrt(alpha), 1 / np.sqrt(1 + weighted))
        w = w - learning_rate * gamma * np.linalg.norm(m) * orth(m)
    return w
