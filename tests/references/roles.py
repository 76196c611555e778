"""Leaves of the other roles as cases of the harness: (out, in), an embedding (vocabulary, width)."""

import optax_muon as om
from tests.references.harness import CASES, Case

EMBEDDING = {"embed": Case((9, 6), om.Leaf("embedding", 0, 1), lambda x: [x])}
HEAD = {"lm_head": Case((6, 9), om.Leaf("head", 0, 1), lambda x: [x.T])}
ROUTER = {
    "router": Case((6, 4), om.Leaf("router", 0, 1), lambda x: [x.T]),
    "routers": Case((2, 6, 4), om.Leaf("router", 1, 2), lambda x: [x[i].T for i in range(2)]),
}
VECTOR = {
    "bias": Case((7,), om.Leaf("vector"), lambda x: [x]),
    "scales": Case((2, 5), om.Leaf("vector", output=1), lambda x: [x[0], x[1]]),
}
CONVOLUTION = {"conv": Case((3, 3, 2, 8), om.Leaf("hidden", (0, 1, 2), 3), lambda x: [x.reshape(18, 8).T])}
OTHERS = EMBEDDING | HEAD | ROUTER | VECTOR


# Where a reference has been met on every kind of hidden leaf once, these will do for its other options.
FEW = {name: CASES[name] for name in ("square", "tall", "stacked")}


def leaves(cases):
    """Give the tree of Leaf of some cases."""
    return {name: case.leaf for name, case in cases.items()}
