"""Newton-Muon, from the authors' code (arXiv 2604.01472), with Moonlight's shape scale. EXACT.

K = 1e-3 I at first and Kinv = I;  at every T-th step:  K <- b K + (1 - b) mean(x x^T),
Kinv = (K + (r tr(K) / n + 1e-8) I)^-1
G' = G Kinv;  M <- mu M + G';  W <- (1 - eta lambda) W - eta 0.2 sqrt(max(m, n)) orth(G' + mu M)
"""

import numpy as np


def newton_muon(
    w, gradients, orth, *, moments, learning_rate, second_moment_decay=0.95, ridge=0.2, refresh_every=32, momentum=0.95,
    weight_decay=0.0, blocks=1,
):  # fmt: skip
    """Run over ``gradients`` from weights ``w``, both (out, in), with the second moment (in, in) of every step.

    Of K only ``blocks`` equal diagonal blocks are kept, each with the ridge of its own trace.
    """
    m, n = np.zeros_like(w), w.shape[1]
    k, inverse = 1e-3 * np.eye(n), np.eye(n)
    for t, (g, seen) in enumerate(zip(gradients, moments, strict=True), start=1):
        if t % refresh_every == 0:
            k = second_moment_decay * k + (1 - second_moment_decay) * seen
            for at in np.split(np.arange(n), blocks):
                block = k[np.ix_(at, at)]
                ridged = block + (ridge * np.trace(block) / len(at) + 1e-8) * np.eye(len(at))
                inverse[np.ix_(at, at)] = np.linalg.inv(ridged)
        g = g @ inverse
        m = momentum * m + g
        step = learning_rate * 0.2 * np.sqrt(max(w.shape))
        w = (1 - learning_rate * weight_decay) * w - step * orth(g + momentum * m)
    return w
