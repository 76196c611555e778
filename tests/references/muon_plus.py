"""Muon+, from the authors' code (arXiv 2602.21545), modes row, col, row_col and col_row. EXACT.

M <- mu M + G;  N = G + mu M;  O = orth(N);  one after another, as the mode says:
row: every output's vector over sqrt(sum of squares + eps);  col: every input's
W <- (1 - eta lambda) W - eta sqrt(out / in) O
"""

import numpy as np


def muon_plus(w, gradients, orth, *, learning_rate, mode="row_col", momentum=0.95, eps=1e-7, weight_decay=0.1):
    """Run over ``gradients`` from weights ``w``, both (out, in); M starts at zero."""
    m = np.zeros_like(w)
    for g in gradients:
        m = momentum * m + g
        o = orth(g + momentum * m)
        for axis in ({"row": 1, "col": 0}[word] for word in mode.split("_")):
            o = o / np.sqrt(np.sum(o * o, axis=axis, keepdims=True) + eps)
        scale = np.sqrt(w.shape[0] / w.shape[1])
        w = (1 - learning_rate * weight_decay) * w - learning_rate * scale * o
    return w
