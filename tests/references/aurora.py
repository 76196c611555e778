"""Aurora, from the authors' code (github.com/tilde-research/aurora-release). EXACT.

M <- mu M + (1 - mu) G;  N = mu M + (1 - mu) G, transposed where wide (out < in); square: U = orth(N)
D = 1 / rownorm(N);  K times: U = orth(D N), and but for the last  D <- D ((n / m) / rownorm^2(U))^p
W <- (1 - eta lambda) W - eta sqrt(max(1, out / in)) U
"""

import numpy as np


def balanced(n, orth, iterations=2, power=0.5):
    """Orthogonalise one matrix with even rows along its longer side."""
    out, fan_in = n.shape
    if out == fan_in:
        return orth(n)
    if out < fan_in:
        return balanced(n.T, orth, iterations, power).T
    d = 1 / np.linalg.norm(n, axis=1, keepdims=True)
    for k in range(iterations):
        u = orth(d * n)
        if k < iterations - 1:
            d = d * (fan_in / out / np.sum(u * u, axis=1, keepdims=True)) ** power
    return u


def aurora(w, gradients, orth, *, learning_rate, iterations=2, power=0.5, momentum=0.95, weight_decay=0.025):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        u = balanced(momentum * m + (1 - momentum) * g, orth, iterations, power)
        scale = np.sqrt(max(1, w.shape[0] / w.shape[1]))
        w = (1 - learning_rate * weight_decay) * w - learning_rate * scale * u
    return w
