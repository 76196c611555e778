"""SoftMuon, from the authors' code (arXiv 2605.31371); its temperatures are those of `soft_signum`. EXACT.

z: all singular values of the raw gradients of the group at the switch; EMA with Nesterov before the map
D = orth(N) before the switch, U diag(tau s / sqrt(1 + (tau s)^2)) V^T after
W <- (1 - eta lambda) W - eta sqrt(max(1, out/in)) D
"""

import numpy as np

from tests.references.soft_signum import temperatures


def soft_muon(weights, gradients, orth, *, learning_rate, steps, hard, momentum=0.95, weight_decay=0.0, maximum=1e9):
    """Run over ``gradients``, lists of matrices (out, in), from ``weights``, a list of them; M starts at zero."""
    ms, taus, first = [np.zeros_like(w) for w in weights], None, int(hard * steps)
    level = (1 - 1e-4) / np.sqrt(1 - (1 - 1e-4) ** 2)

    def soft(x, tau):
        u, s, vh = np.linalg.svd(x, full_matrices=False)
        return u * (tau * s / np.sqrt(1 + (tau * s) ** 2)) @ vh

    for t, gs in enumerate(gradients):
        ms = [momentum * m + (1 - momentum) * g for m, g in zip(ms, gs, strict=True)]
        ns = [momentum * m + (1 - momentum) * g for m, g in zip(ms, gs, strict=True)]
        if t == first:
            z = np.concatenate([np.linalg.svd(g, compute_uv=False) for g in gs])
            taus = temperatures(z, steps - first, level, maximum)
        ds = [orth(n) if t < first else soft(n, taus[t - first]) for n in ns]
        ds = [d * np.sqrt(max(1, d.shape[0] / d.shape[1])) for d in ds]
        weights = [(1 - learning_rate * weight_decay) * w - learning_rate * d for w, d in zip(weights, ds, strict=True)]
    return weights
