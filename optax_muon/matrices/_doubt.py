"""What is done where a reading leaves room for doubt: one table, for every way in which parameters are read.

| a parameter's role and axes are | ``strict=None``, the default | ``strict=True`` | ``strict=False`` |
|---|---|---|---|
| certain, given or ruled | silent | silent | silent |
| assumed | one warning, with the rules that silence it | raises | one warning |
| contradictory or unknown | raises | raises | raises |
| a rule or a given leaf that matches nothing | raises | raises | silent |
"""

import warnings
from collections.abc import Mapping

from optax_muon.matrices._by_name import Finding, UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._suggest import ELSE, Shape, Unknown, rule_lines


class AssumedLeafWarning(UserWarning):
    """Roles or axes of parameters are assumed; the message folds their paths and shows rules that say so."""


def speak_of_doubt(
    found: Mapping[str, Finding], shapes: Mapping[str, Shape], strict: bool | None, stacklevel: int = 3
) -> None:
    """Warn of what is assumed, or raise where ``strict``.

    Raises:
        UnknownLeafError: where ``strict``, naming what is assumed.
    """
    assumed = {path: Unknown(entry.reason, _said(entry.leaf)) for path, entry in found.items() if entry.assumed}
    if not assumed:
        return
    text = (
        f"{len(assumed)} of {len(found)} parameters are taken for what they are most often, not for certain. "
        "Rules that say so, and silence this once you have checked or corrected them:\n"
        f"rules=[\n{rule_lines(assumed, shapes)}\n]\n{ELSE}"
    )
    if strict:
        raise UnknownLeafError(text)
    warnings.warn(text, AssumedLeafWarning, stacklevel=stacklevel)


def _said(leaf: Leaf) -> Leaf | str:
    """Write as short a rule as will do."""
    return leaf if leaf.output and leaf.role != "vector" else leaf.role
