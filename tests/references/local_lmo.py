"""Local LMO (arXiv 2605.08850). PARTIAL: the iteration of the abstract; closed forms and reach are ours.

W <- argmin <G, Z> over Z in X, |Z - W| <= t.  Here X is a box, by its optimality conditions: Z = clip(W - c G)
"""

import numpy as np


def local_lmo(w, gradients, *, learning_rate, low, high, proportional=False, trust="euclidean"):
    """Run over ``gradients`` from weights ``w``; c by the sorted times at which entries meet their bounds."""
    for g in gradients:
        free = np.where(((g > 0) & (w <= low)) | ((g < 0) & (w >= high)), 0, g)
        if trust == "max":
            w = np.clip(w - learning_rate * np.sign(g), low, high)
            continue
        reach = learning_rate * (np.linalg.norm(free) if proportional else 1)
        # The length of the way grows in pieces: sqrt(met + c^2 rest), where `met` is that of entries at their bounds.
        room = np.where(g > 0, w - low, high - w)
        times = np.where(g == 0, np.inf, room / np.where(g == 0, 1, np.abs(g)))
        found = np.inf
        for c in np.sort(times[np.isfinite(times)]):
            if np.sqrt(np.sum(np.minimum(c * np.abs(g), np.where(g == 0, 0, room)) ** 2)) >= reach:
                at = times < c
                met, rest = np.sum(room[at] ** 2), np.sum(g[~at] ** 2)
                found = np.sqrt((reach**2 - met) / rest)
                break
        w = np.where(g == 0, w, np.clip(w - np.minimum(found, times) * g, low, high))
    return w
