"""Manifold Muon, from github.com/thinking-machines-lab/manifolds. EXACT, but for the unit of the dual rate.

For W tall, with W^T W = I (wide: transposed), and g the root mean square singular value of G:
Lam <- -1/4 (W^T G + G^T W);  for s < S:  A = orth(G + 2 W Lam);  Lam <- Lam - g rate/4 (1 - s/S) (W^T A + A^T W)
W <- orth(W - eta orth(G + 2 W Lam))
"""

import numpy as np

from tests.references.polar import polar


def direction(w, g, *, dual_steps, dual_rate):
    """Solve the dual at one matrix, in any orientation; give the direction and its residual."""
    if w.shape[0] < w.shape[1]:
        a, h = direction(w.T, g.T, dual_steps=dual_steps, dual_rate=dual_rate)
        return a.T, h
    size = np.linalg.norm(g) / np.sqrt(w.shape[1])
    lam = -(w.T @ g + g.T @ w) / 4
    for s in range(dual_steps):
        a = polar(g + 2 * w @ lam)
        lam = lam - size * dual_rate / 4 * (1 - s / dual_steps) * (w.T @ a + a.T @ w)
    a = polar(g + 2 * w @ lam)
    return a, w.T @ a + a.T @ w


def manifold_muon(w, gradients, *, learning_rate, momentum=0.0, dual_steps=20, dual_rate=0.5):
    """Run over ``gradients`` from weights ``w``, both (out, in)."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        a, _ = direction(w, m, dual_steps=dual_steps, dual_rate=dual_rate)
        w = polar(w - learning_rate * a)
    return w
