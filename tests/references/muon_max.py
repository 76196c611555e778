"""MuonMax with Momo, from its published rule (arXiv 2510.09827). EXACT, but a model gap below zero counts as zero.

All leaves at once, since the rule couples them: ``matrices`` and ``others`` are lists of arrays.

    M, V start at the first gradient and its square;  d_i = s <M_i, orth(M_i)>, A = sum_i d_i
    U_i = A s orth(M_i);  U_j = M_j / (sqrt(V_j) + eps), d_j^2 = |M_j|^2 / (sqrt(V_j) + eps)
    D^2 = A^2 + sum_j d_j^2;  l <- mu l + (1 - mu)(f - <W, G>);  eta_t = min(eta, (l - F + <W, M>) / D^2)
    W <- (1 - eta lambda) W - eta_t U
"""

import numpy as np


def muon_max(
    matrices, others, matrix_gradients, other_gradients, losses, orth, *, learning_rate, momentum=0.95,
    second_moment_decay=0.95, eps=1e-8, spectral_scale=1.0, lower_bound=-np.inf, weight_decay=0.0,
):  # fmt: skip
    """Run over the gradients of every step; give both lists of weights and the rates that were taken."""
    weights, count, taken = [*matrices, *others], len(matrices), []
    for k, (gm, go, f) in enumerate(zip(matrix_gradients, other_gradients, losses, strict=True)):
        g = [*gm, *go]
        intercept_now = f - sum(np.sum(w * x) for w, x in zip(weights, g, strict=True))
        if k == 0:
            m, v, intercept = list(g), [x**2 for x in go], intercept_now
        else:
            m = [momentum * a + (1 - momentum) * x for a, x in zip(m, g, strict=True)]
            v = [second_moment_decay * a + (1 - second_moment_decay) * x**2 for a, x in zip(v, go, strict=True)]
            intercept = momentum * intercept + (1 - momentum) * intercept_now
        polar = [orth(x) for x in m[:count]]
        total = sum(spectral_scale * np.sum(x * u) for x, u in zip(m, polar, strict=False))
        steps = [total * spectral_scale * u for u in polar]
        steps += [x / (np.sqrt(a) + eps) for x, a in zip(m[count:], v, strict=True)]
        squared = total**2 + sum(np.sum(x**2 / (np.sqrt(a) + eps)) for x, a in zip(m[count:], v, strict=True))
        gap = intercept - lower_bound + sum(np.sum(w * x) for w, x in zip(weights, m, strict=True))
        rate = min(learning_rate, max(gap, 0) / squared)
        weights = [(1 - learning_rate * weight_decay) * w - rate * u for w, u in zip(weights, steps, strict=True)]
        taken.append(rate)
    return weights[:count], weights[count:], taken
