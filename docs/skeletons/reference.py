"""Authors, Title, arXiv 0000.00000, OUR READING: say which equations, and what of them was seen."""

import numpy as np


def variant(w, gradients, *, learning_rate, momentum=0.95, weight_decay=0.0):
    """Walk one matrix (out, in), as papers write it, through all gradients; float64, and nothing of the library."""
    out, fan_in = w.shape
    average = np.zeros_like(w)
    for g in gradients:
        average = momentum * average + (1 - momentum) * g
        u, _, vh = np.linalg.svd(momentum * average + (1 - momentum) * g, full_matrices=False)
        step = np.sqrt(max(1, out / fan_in)) * (u @ vh)
        w = w - learning_rate * (step + weight_decay * w)
    return w
