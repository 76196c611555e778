"""What is found of one parameter, or why nothing is."""

from collections.abc import Sequence
from typing import NamedTuple

from optax_muon.matrices._leaf import Leaf

Shape = tuple[int, ...]
Rules = Sequence[tuple[str, "Leaf | str"]]


class Finding(NamedTuple):
    """A leaf with the reason for it; ``assumed`` where a name did not settle the matter."""

    leaf: Leaf
    reason: str
    assumed: bool = False


class UnknownLeafError(ValueError):
    """A parameter whose role or axes cannot be told; the message names its path and shows a rule.

    Attributes:
        rule: target of a rule that would settle the one parameter it speaks of, where the reason suggests one.
    """

    def __init__(self, message: str, rule: Leaf | str | None = None):
        """Keep the rule beside the message."""
        super().__init__(message)
        self.rule = rule
