"""How a contestant's settings are found: the same number of runs for each, none of them counted in the result."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from track.engine import Outcome

RUNS = 15  # of the first division
BUDGET = 40  # of the second
SEED = 1000  # of tuning, and upwards; final runs use those below


@dataclasses.dataclass(frozen=True)
class Trial:
    """A setting that was tried, and what came out."""

    rate: float
    horizon: int
    options: Mapping[str, Any]
    outcome: Outcome

    @property
    def rank(self) -> tuple[float, float]:
        """Fewest steps first; runs that missed the target by their last loss, none of them before one that did not."""
        last = self.outcome.losses[-1]
        missed = math.inf if self.outcome.steps is None else self.outcome.steps
        return missed, last if math.isfinite(last) else math.inf


# (rate, horizon, options, until) -> the outcome, stopped where the best so far can no longer be beaten.
Try = Callable[[float, int, Mapping[str, Any], int | None], Outcome]


class Search:
    """Trials so far, each counted."""

    def __init__(self, attempt: Try, limit: int, every: int):
        self.attempt, self.limit, self.every = attempt, limit, every
        self.trials: list[Trial] = []

    @property
    def best(self) -> Trial:
        """The first of the best."""
        return min(self.trials, key=lambda trial: trial.rank)

    def add(self, rate: float, horizon: float, options: Mapping[str, Any] | None = None) -> None:
        """Try one setting; horizons are whole stretches between validations, at most the preset's limit."""
        whole = min(self.limit, max(2 * self.every, self.every * round(horizon / self.every)))
        options = options or {}
        self.trials.append(Trial(rate, whole, options, self.attempt(rate, whole, options, self._until())))

    def _until(self) -> int | None:
        """Give the first validation at which a trial has lost, once the target was reached."""
        fewest = self.best.outcome.steps if self.trials else None
        return None if fewest is None else self.every * math.ceil(fewest / self.every)


def first_division(attempt: Try, rate: float, limit: int, every: int) -> Search:
    """Tune the peak rate and the length of the schedule by ``RUNS`` runs.

    Five rates on the longest schedule, four shorter schedules, four rates about the best, two schedules about the best.
    """
    search = Search(attempt, limit, every)
    for power in (0, -1, 1, -2, 2):
        search.add(rate * 2.0**power, limit)
    best = search.best
    for share in (0.8, 0.65, 0.5, 0.4):
        search.add(best.rate, share * limit)
    best = search.best
    for power in (-1, -0.5, 0.5, 1):
        search.add(best.rate * 2.0**power, best.horizon)
    best = search.best
    for share in (0.93, 1.07):
        search.add(best.rate, share * best.horizon)
    assert len(search.trials) == RUNS, "every contestant has as many runs"
    return search


def second_division(attempt: Try, rate: float, limit: int, every: int, numbers: Mapping[str, float]) -> Search:
    """Tune every number among the options too, by random steps from the best so far: ``BUDGET`` runs in all."""
    search, rng = first_division(attempt, rate, limit, every), np.random.default_rng(SEED)
    while len(search.trials) < BUDGET:
        best = search.best
        moved = {name: _moved(best.options.get(name, value), rng) for name, value in numbers.items()}
        search.add(best.rate * 2.0 ** rng.normal(0, 0.3), best.horizon * 2.0 ** rng.normal(0, 0.1), moved)
    return search


def _moved(value: float, rng: np.random.Generator) -> float:
    """Move a positive number by a factor; one between a half and one, a decay rate, by its distance from one."""
    factor = 2.0 ** rng.normal(0, 0.5)
    return 1 - min((1 - value) * factor, 0.5) if 0.5 < value < 1 else value * factor
