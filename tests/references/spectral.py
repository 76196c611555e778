"""Rules that replace Muon's polar factor by another function of the singular values, all by decomposition.

HTMuon (arXiv 2603.10067, EXACT):        EMA with Nesterov, U S^p V^T, sqrt(max(1, out/in)), decay 0.1
Pion (arXiv 2605.19282, EXACT):          EMA with Nesterov, filter of N / |N|_F, 2 sqrt(max(m, n)), decay 0.01
Freon (arXiv 2605.11181, PARTIAL):       heavy ball, U diag((s / M_q)^(q - 1)) V^T with the mean of order q = 2 - 2c
Kaon (same, map EXACT):                  heavy ball, five times s <- 4.1 s (1 - s^2)^2 from N / |N|_F, over 1.175
MuCon (arXiv 2605.26459, PARTIAL):       EMA with Nesterov, U min(S, tau) V^T, sqrt(max(1, out/in))
Low-rank Muon's MSGD (arXiv 2509.11983, PARTIAL) is not here: it draws random numbers.
"""

import numpy as np


def by_svd(f):
    """Lift a function of the spectrum."""

    def apply(x):
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        return u * f(s) @ vh

    return apply


def high_pass(promotions, steps=5):
    """Give Pion's filter."""

    def f(s):
        s = s / np.linalg.norm(s)
        for i in range(steps):
            s = 1.875 * s - 1.25 * s**3 + 0.375 * s**5 if i < promotions else 2.5 * s**3 - 1.5 * s**5
        return s

    return by_svd(f)


def freon(c):
    """Give Freon's map, the mean form, for q != 0."""
    q = 2 - 2 * c
    return by_svd(lambda s: (s / np.mean(s**q) ** (1 / q)) ** (q - 1))


def kaon(x):
    """Apply Kaon's map."""

    def f(s):
        s = s / np.linalg.norm(s)
        for _ in range(5):
            s = 4.1 * s * (1 - s * s) ** 2
        return s / 1.175

    return by_svd(f)(x)


def run(w, gradients, direction, *, learning_rate, scale, momentum=0.95, heavy=False, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in); heavy ball without, EMA with Nesterov; M from zero."""
    m, kept = np.zeros_like(w), 1.0 if heavy else 1 - momentum
    for g in gradients:
        m = momentum * m + kept * g
        n = m if heavy else momentum * m + (1 - momentum) * g
        w = (1 - learning_rate * weight_decay) * w - learning_rate * scale(*w.shape) * direction(n)
    return w
