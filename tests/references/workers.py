"""Methods of many workers as their papers write them: all workers' matrices in one stack, mixing by a dense matrix.

Stacks are (workers, in, out) as the harness has them; no rule here depends on which side is which.
"""

import numpy as np


def polar(x):
    """Polar factors of a stack, by its definition."""
    u, _, vh = np.linalg.svd(x, full_matrices=False)
    return u @ vh


def gradients(weights, data, step, pull=0.3):
    """What each worker sees at its own weights."""
    return data[:, step] + pull * weights


def ring(n, weight):
    """A ring's mixing matrix, each neighbour with this weight; for two workers both are one."""
    w = np.zeros((n, n))
    for i in range(n):
        w[i, i] += 1 - 2 * weight
        w[i, (i + 1) % n] += weight
        w[i, (i - 1) % n] += weight
    return w


def mixed(w, x):
    return np.einsum("ij,jkl->ikl", w, x)


def sign_muon(x, data, *, rate, momentum):
    """Mishra et al., SignMuon, arXiv 2605.16311, EXACT/second: a majority of signs of polar factors."""
    m = np.zeros_like(x)
    for t in range(data.shape[1]):
        m = momentum * m + (1 - momentum) * gradients(x, data, t)
        x = x - rate * np.sign(np.sign(polar(m)).sum(axis=0))
    return x


def top(x, fraction):
    """The entries of largest modulus of every matrix of a stack."""
    kept = int(np.ceil(fraction * x[0].size - 1e-9))
    out = np.zeros_like(x)
    for one, to in zip(x, out, strict=True):
        places = np.argsort(-np.abs(one), axis=None)[:kept]
        to.flat[places] = one.flat[places]
    return out


def ef21_muon(x, data, *, rate, momentum, fraction):
    """Gruntkowska et al., EF21-Muon, arXiv 2510.00643, EXACT/second; also give every worker's estimate and the mean."""
    m, each, mean = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x[0])
    for t in range(data.shape[1]):
        m = momentum * m + (1 - momentum) * gradients(x, data, t)
        sent = top(m - each, fraction)
        each, mean = each + sent, mean + sent.mean(axis=0)
        x = x - rate * polar(mean)
    return x, each, mean


def tracked(x, data, w, momentum):
    """Momenta and estimates step by step; the walker sends the weights after each."""
    old, v = np.zeros_like(x), np.zeros_like(x)
    for t in range(data.shape[1]):
        m = momentum * old + (1 - momentum) * gradients(x, data, t)
        v = mixed(w, v + m - old)
        old = m
        x = yield v, m


def demuon(x, data, *, rate, momentum, w):
    """He et al., DeMuon, arXiv 2510.01377, EXACT/second."""
    walk = tracked(x, data, w, momentum)
    v, _ = next(walk)
    for t in range(data.shape[1]):
        x = mixed(w, x - rate * polar(v))
        if t + 1 < data.shape[1]:
            v, _ = walk.send(x)
    return x


def suda_muon(x, data, *, rate, momentum, w, backbone):
    """Zhang et al., SUDA-Muon, arXiv 2604.23980, OUR READING, with the dual variable as it is defined, Z = B Y."""
    eye = np.eye(len(w))
    a, b2, c = {"ed": (w, eye - w, eye), "extra": (eye, eye - w, w), "gt": (w @ w, (eye - w) @ (eye - w), eye)}[
        backbone
    ]
    values, vectors = np.linalg.eigh(b2)
    b = vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T
    y = np.zeros_like(x)
    walk = tracked(x, data, w, momentum)
    v, _ = next(walk)
    for t in range(data.shape[1]):
        x = mixed(a, mixed(c, x) - rate * polar(v)) - mixed(b, y)
        y = y + mixed(b, x)
        if t + 1 < data.shape[1]:
            v, _ = walk.send(x)
    return x


def loscar(x, data, *, rate, period, overlap, masks):
    """Maziane et al., LOSCAR-SGD, arXiv 2605.20866, EXACT/second; ``masks``: the entries of each round, (in, out)."""
    y = x
    for t in range(data.shape[1]):
        x = x - rate * gradients(x, data, t)
        if (t + 1 + overlap) % period == 0:
            y = x
        if (t + 1) % period == 0:
            mask = masks[t // period]
            x = np.where(mask, y.mean(axis=0) + (x - y), x)
    return x


def muloco(x, data, *, rate, momentum, period, outer_rate, outer_momentum):
    """Douillard et al., DiLoCo, arXiv 2311.08105, around Muon, arXiv 2505.23725, with PyTorch's Nesterov outside."""
    anchor, ball, m = x[0], np.zeros_like(x[0]), np.zeros_like(x)
    for t in range(data.shape[1]):
        g = gradients(x, data, t)
        m = momentum * m + (1 - momentum) * g
        x = x - rate * polar(momentum * m + (1 - momentum) * g)
        if (t + 1) % period == 0:
            difference = anchor - x.mean(axis=0)
            ball = outer_momentum * ball + difference
            anchor = anchor - outer_rate * (difference + outer_momentum * ball)
            x = np.broadcast_to(anchor, x.shape)
    return x


def marina(x, data, *, rate, coins):
    """MARINA, arXiv 2102.07845, with exact messages, then a step of Gluon; ``coins``: which steps send gradients."""
    before, g = x, None
    for t, coin in enumerate(coins):
        now = gradients(x, data, t)
        g = now.mean(axis=0) if coin else g + (now - gradients(before, data, t)).mean(axis=0)
        before, x = x, x - rate * polar(g)
    return x
