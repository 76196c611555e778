"""QK-clip, arXiv 2507.20534, in NumPy float64. PARTIAL: from a summary of the algorithm, not the paper's listing."""

import numpy as np


def largest_logits(x, query, key):
    """Of every head, over the batch and the causal pairs; x (B, T, D), query and key (D, H, K)."""
    q, k = (np.einsum("btd,dhk->bhtk", x, w) for w in (query, key))
    logits = q @ k.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    time = x.shape[1]
    return np.where(np.tril(np.ones((time, time), bool)), logits, -np.inf).max(axis=(0, 2, 3))


def clip(query, key, largest, threshold):
    """Scale both weights of every head by the root of gamma, after the optimizer's step."""
    query, key = query.copy(), key.copy()
    for head, s in enumerate(largest):
        gamma = min(1.0, threshold / s) if s > 0 else 1.0
        query[:, head] *= gamma**0.5
        key[:, head] *= gamma**0.5
    return query, key


def clip_groups(query, key, largest, threshold):
    """The same where query heads share a key head: the least gamma of a group counts for all of it. OUR READING."""
    query, key = query.copy(), key.copy()
    size = query.shape[1] // key.shape[1]
    for group in range(key.shape[1]):
        heads = slice(group * size, (group + 1) * size)
        s = max(largest[heads])
        gamma = min(1.0, threshold / s) if s > 0 else 1.0
        query[:, heads] *= gamma**0.5
        key[:, group] *= gamma**0.5
    return query, key
