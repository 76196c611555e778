"""SignMuon (arXiv 2605.16311) and the orders of sign and polar factor with EF21. EXACT.

One worker. The first is as third parties restate it, the others from the authors' code of "SignMuon, MuonSign, and the
Role of Error Feedback".

    C(Y) = mean |Y| sgn(Y);  M <- mu M + (1 - mu) G (sign_muon: G + lambda W), with Nesterov mu M + (1 - mu) G
    sign_muon:   D = sgn(orth(M));        EF21: d <- d + C(orth(M) - d), D = d
    muon_usign:  D = orth(sgn(M));        EF21: g <- g + C(M - g), D = orth(g)
    muon_sign:   D = sgn(orth(sgn(M)));   EF21: g as above, X <- X - eta (s orth(g) + lambda X), W <- W + C(X - W)
"""

import numpy as np


def compress(y):
    """Give the signs times the mean size."""
    return np.abs(y).mean() * np.sign(y)


def sign_muon(w, gradients, orth, *, learning_rate, feedback, momentum=0.95, weight_decay=0.0, decoupled=False):
    """Run over ``gradients`` from weights ``w``, both (out, in); there is no Nesterov step."""
    m, d = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        inside, beside = (0, weight_decay) if decoupled else (weight_decay, 0)
        m = momentum * m + (1 - momentum) * (g + inside * w)
        d = d + compress(orth(m) - d)
        w = (1 - learning_rate * beside) * w - learning_rate * (d if feedback else np.sign(orth(m)))
    return w


def muon_usign(w, gradients, orth, *, learning_rate, feedback, momentum=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in), with Nesterov and the factor sqrt(max(1, out/in))."""
    m, e = np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        n = momentum * m + (1 - momentum) * g
        e = e + compress(n - e)
        step = np.sqrt(max(1, w.shape[0] / w.shape[1])) * orth(e if feedback else np.sign(n))
        w = w - learning_rate * (step + weight_decay * w)
    return w


def muon_sign(w, gradients, orth, *, learning_rate, feedback, momentum=0.95, weight_decay=0.0):
    """Run over ``gradients`` from weights ``w``, both (out, in), with Nesterov; factors as the authors' by family."""
    m, e, x = np.zeros_like(w), np.zeros_like(w), w
    for g in gradients:
        m = momentum * m + (1 - momentum) * g
        n = momentum * m + (1 - momentum) * g
        if feedback:
            e = e + compress(n - e)
            x = x - learning_rate * (np.sqrt(max(1, w.shape[0] / w.shape[1])) * orth(e) + weight_decay * x)
            w = w + compress(x - w)
        else:
            w = w - learning_rate * (np.sign(orth(np.sign(n))) / np.sqrt(w.shape[1]) + weight_decay * w)
    return w
