"""What modules leave open, told by names and places: a Flax model without inputs knows no less than its plain tree."""

import dataclasses

from optax_muon.matrices._by_name import Finding
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import shapes_by_path
from optax_muon.matrices.flax._reading import Reading
from optax_muon.matrices.names._read import read_names


def with_names(reading: Reading) -> Reading:
    """Complete a reading of modules: their axes count, and where they tell no role the tree's reading does."""
    leaves, problems = dict(reading.leaves), dict(reading.problems)
    for path, found in read_names(shapes_by_path(reading.shapes)).items():
        if not isinstance(found, Finding):
            continue
        leaf = leaves.get(path)
        if leaf is None:
            if path in problems and not found.assumed and found.leaf.role != "hidden":
                leaves[path] = dataclasses.replace(found.leaf, why=found.reason)
                del problems[path]
        elif leaf.assumed and leaf.role == "hidden":
            leaves[path] = _settled(leaf, found)
    return reading._replace(leaves=leaves, problems=problems)


def _settled(leaf: Leaf, found: Finding) -> Leaf:
    """One leaf whose role its module does not tell."""
    why = f"{leaf.why}: {found.reason}"
    # Who takes and makes its lengths was asked of the modules already; here only names count.
    if found.leaf.role in ("head", "router", "input") and not found.assumed:
        return dataclasses.replace(leaf, role=found.leaf.role, split=None, why=why, assumed=found.assumed)
    same = (leaf.reduction, leaf.output) == (found.leaf.reduction, found.leaf.output)
    if found.leaf.role == "hidden" and same and not found.assumed:
        return dataclasses.replace(leaf, why=why, assumed=False)
    return leaf
