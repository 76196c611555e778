"""What modules say and what a call shows, brought together."""

import dataclasses
from collections.abc import Mapping

from optax_muon.matrices._by_name import Finding
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices.call._summary import Problem
from optax_muon.matrices.flax._reading import Reading
from optax_muon.matrices.flax._roles import Attention

# What the way of the data shows better than any name.
SHOWN = ("head", "router", "input", "embedding")


def with_call(reading: Reading, shown: Mapping[str, Finding | Problem], attention: Attention) -> Reading:
    """Correct a reading of modules: products know the axes and the way of the data, modules what is one matrix."""
    leaves, problems, untold = dict(reading.leaves), dict(reading.problems), set(reading.untold)
    for path, found in shown.items():
        leaf = leaves.get(path)
        made = _settled(leaf, found, attention)
        if isinstance(made, Problem):
            leaves.pop(path, None)
            problems[path] = made.why
            untold.discard(path)  # seen in two ways: no name settles that
        elif made is not None:
            leaves[path] = made
            problems.pop(path, None)
    return reading._replace(leaves=leaves, problems=problems, untold=frozenset(untold))


def _settled(leaf: Leaf | None, found: Finding | Problem, attention: Attention) -> Leaf | Problem | None:
    """One parameter's leaf; None: nothing to add to what the modules say."""
    if isinstance(found, Problem):
        # A layer that says its axes may be used in more than one way, as under spectral normalisation, or not at all.
        return None if leaf is not None or found.unused else found
    shown = dataclasses.replace(found.leaf, why=found.reason, assumed=found.assumed)
    if attention.fused == "whole":
        shown = dataclasses.replace(shown, split=None)
    if leaf is None:
        return shown
    if leaf.role == "embedding" and shown.role != "embedding":
        return None  # a table that this call does not look up, but multiplies as the head
    if shown.role == "vector":
        return None if leaf.role == "vector" else shown
    if shown.role in SHOWN or leaf.role == "vector" or not _refines(leaf, shown):
        return shown
    if found.assumed:
        return None  # the last matrix of a block: names decide what the call cannot
    # What is called a head and has a product after it is none; a router that mixes softly only its name can tell.
    role = "hidden" if leaf.role == "head" else leaf.role
    split = leaf.split or (shown.split if leaf.output == shown.output else None)
    return dataclasses.replace(leaf, role=role, split=split, why=f"{leaf.why}; {found.reason}", assumed=False)


def _refines(leaf: Leaf, shown: Leaf) -> bool:
    """Whether a leaf has the same sides, or leaves some of their axes to number matrices, as heads."""
    sides = ((leaf.reduction, shown.reduction), (leaf.output, shown.output))
    return bool(shown.output) and all(mine and set(mine) <= set(theirs) for mine, theirs in sides)
