"""Riemannion, PARTIAL: arXiv 2507.12142 with the retraction that keeps the present point; X as (out, in).

By whole matrices and decompositions of them: tangent vectors are dense, where the optimizer has their coordinates.
"""

import numpy as np

from tests.references.polar import polar


def riemannion(x, rank, gradients, *, learning_rate, momentum=0.9, keeps="momentum", weight_decay=0.0):
    """Walk one matrix of a rank through all gradients of itself."""
    carried = np.zeros_like(x)
    for g in gradients:
        u, _, vh = (part[..., :rank] if i == 0 else part[:rank] for i, part in enumerate(np.linalg.svd(x)))
        columns, rows = u @ u.T, vh.T @ vh

        def project(z, columns=columns, rows=rows):
            return columns @ z + z @ rows - columns @ z @ rows

        vector = momentum * project(carried) + project(g)
        direction = project(polar(vector))
        carried = vector if keeps == "momentum" else direction
        u, s, vh = np.linalg.svd((1 - learning_rate * weight_decay) * x - learning_rate * direction)
        x = (u[:, :rank] * s[:rank]) @ vh[:rank]
    return x
