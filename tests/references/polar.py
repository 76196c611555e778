"""The polar factor by decomposition in NumPy, for references that need no other orthogonaliser."""

import numpy as np


def polar(x):
    """Give ``U V^T`` over the numerical rank."""
    u, s, vh = np.linalg.svd(np.asarray(x, np.float64), full_matrices=False)
    kept = s > max(x.shape) * np.finfo(np.float64).eps * s.max()
    return (u * kept) @ vh
