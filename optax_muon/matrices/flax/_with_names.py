"""What modules leave open, told by names and places: a Flax model without inputs knows no less than its plain tree."""

import dataclasses
from collections.abc import Mapping

from optax_muon.matrices._by_name import Finding, UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import shapes_by_path
from optax_muon.matrices.flax._reading import Reading
from optax_muon.matrices.flax._stacked_axes import lifted
from optax_muon.matrices.names._read import read_names


def with_names(reading: Reading) -> Reading:
    """Complete a reading of modules: their axes count, and where they tell no role or nothing the plain tree does."""
    leaves, problems = dict(reading.leaves), dict(reading.problems)
    for path, found in _by_names(reading).items():
        if not isinstance(found, Finding):
            continue
        leaf = leaves.get(path)
        if leaf is None:
            # Axes that no module knows have to be certain; pieces may be taken from what stands beside.
            sure = not found.assumed and (path in reading.untold or found.leaf.role != "hidden")
            if path in problems and (sure or path in reading.untold and found.leaf.split is not None):
                leaves[path] = dataclasses.replace(found.leaf, why=found.reason, assumed=found.assumed)
                del problems[path]
        elif leaf.assumed or leaf.role == "hidden" and path in reading.convolutions:
            leaves[path] = _settled(leaf, found)
    return reading._replace(leaves=leaves, problems=problems)


def with_plain_names(reading: Reading) -> Reading:
    """Complete a reading of modules and a call: what neither uses is told by a name that leaves no doubt."""
    leaves, problems = dict(reading.leaves), dict(reading.problems)
    found = _by_names(reading) if problems.keys() & reading.untold else {}
    for path in problems.keys() & reading.untold:
        told = found[path]
        if isinstance(told, Finding) and not told.assumed:
            leaves[path] = dataclasses.replace(told.leaf, why=told.reason)
            del problems[path]
    return reading._replace(leaves=leaves, problems=problems)


def _by_names(reading: Reading) -> Mapping[str, Finding | UnknownLeafError]:
    """Read the plain tree; where metadata say which axis numbers layers, without that axis."""
    shapes = shapes_by_path(reading.shapes)
    inner = {
        path: tuple(n for axis, n in enumerate(shape) if axis != reading.layered.get(path))
        for path, shape in shapes.items()
    }
    found = dict(read_names(inner))
    for path, axis in reading.layered.items():
        entry = found[path]
        if isinstance(entry, Finding):
            why = f"{entry.reason}; axis {axis} numbers layers by its name"
            found[path] = Finding(lifted(entry.leaf, len(shapes[path]), (axis,)), why, entry.assumed)
    return found


def _settled(leaf: Leaf, found: Finding) -> Leaf:
    """One leaf whose role its module does not tell."""
    why = f"{leaf.why}: {found.reason}"
    # Who takes and makes its lengths was asked of the modules already; here only names count.
    if found.assumed:
        return leaf
    if found.leaf.role in ("head", "router", "input"):
        return dataclasses.replace(leaf, role=found.leaf.role, split=None, why=why, assumed=False)
    if found.leaf.role == "hidden" and (leaf.reduction, leaf.output) == (found.leaf.reduction, found.leaf.output):
        return dataclasses.replace(leaf, role="hidden", split=leaf.split or found.leaf.split, why=why, assumed=False)
    return leaf
