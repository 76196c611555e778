"""What a fuzz is made of: a kind draws batches of cases and checks them; a tally counts the distinct ones."""

import collections
import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import hypothesis
from hypothesis import strategies as st


@dataclasses.dataclass(frozen=True)
class Kind:
    """One promise, tried on cases of one form.

    Attributes:
        name: in the tally and in test ids.
        batches: draws some cases that are checked together, so that one compiled program serves many.
        check: raises where a case breaks the promise; returns the cases that it tried, each hashable.
        quick: batches of the ordinary run.
        share: of the cases of a long run.
        minutes: of a long run, in proportion; the most that the kind may take.
    """

    name: str
    batches: st.SearchStrategy[Any]
    check: Callable[[Any], Sequence[Hashable]]
    quick: int
    share: float
    minutes: float


@dataclasses.dataclass
class Tally:
    """Distinct cases by kind, and the batches that assumptions rejected."""

    cases: dict[str, set[int]] = dataclasses.field(default_factory=lambda: collections.defaultdict(set))
    tried: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    rejected: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, name: str, cases: Sequence[Hashable]) -> None:
        """Count the cases of one batch."""
        self.tried[name] += 1
        self.cases[name].update(hash((name, case)) for case in cases)

    def count(self, name: str | None = None) -> int:
        """Give the number of distinct cases, of one kind or of all."""
        return sum(len(found) for kind, found in self.cases.items() if name in (None, kind))

    def share_rejected(self) -> float:
        """Give the rejected part of all batches."""
        rejected = self.rejected.total()
        return rejected / max(1, rejected + self.tried.total())


def explore(kind: Kind, batches: int, seed: int, tally: Tally, *, shrink: bool = True) -> None:
    """Check ``batches`` batches of a kind; a failure is shrunk, and raised with the batch that shows it."""

    def body(batch: Any) -> None:
        try:
            cases = kind.check(batch)
        except hypothesis.errors.UnsatisfiedAssumption:
            tally.rejected[kind.name] += 1
            raise
        tally.add(kind.name, cases)

    phases = [hypothesis.Phase.generate, *([hypothesis.Phase.shrink] if shrink else [])]
    settings = hypothesis.settings(
        max_examples=batches,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(hypothesis.HealthCheck),
        print_blob=False,
    )
    hypothesis.seed(seed)(settings(hypothesis.given(kind.batches)(body)))()
