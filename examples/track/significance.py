"""Which claims stand: Welch's t, one-sided, with Holm's correction over all that are made.

Welch, The generalization of 'Student's' problem, Biometrika 34 (1947); Holm, A simple sequentially rejective multiple
test procedure, Scand. J. Statistics 6 (1979).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.001


@dataclasses.dataclass(frozen=True)
class Claim:
    """That one contestant needs fewer steps than ``share`` of another's.

    Attributes:
        faster: its name.
        slower: the other's.
        share: of the other's steps.
        p: Welch's one-sided p, before correction.
        holds: whether it stands after Holm's correction.
    """

    faster: str
    slower: str
    share: float
    p: float
    holds: bool = False


def p_value(faster: Sequence[float | None], slower: Sequence[float | None], share: float = 1.0) -> float:
    """Give Welch's one-sided p of a smaller mean; one where a run was censored or too few were made."""
    if any(x is None for x in (*faster, *slower)) or min(len(faster), len(slower)) < 2:
        return 1.0
    ours, theirs = np.asarray(faster, float), share * np.asarray(slower, float)
    if ours.std() == theirs.std() == 0:
        return 0.0 if ours.mean() < theirs.mean() else 1.0
    test: Any = stats.ttest_ind(ours, theirs, equal_var=False, alternative="less")
    return 1.0 if math.isnan(test.pvalue) else float(test.pvalue)


def claimed(steps: Mapping[str, Sequence[float | None]], pairs: Sequence[tuple[str, str, float]]) -> list[Claim]:
    """Make claims of (faster, slower, share) with their p; none holds before it is corrected."""
    return [Claim(a, b, share, p_value(steps[a], steps[b], share)) for a, b, share in pairs]


def corrected(claims: Sequence[Claim], level: float = LEVEL) -> list[Claim]:
    """Correct claims together, in their order: sorted by p, the k-th of m holds while p < level / (m - k)."""
    made, standing = list(claims), True
    for k, i in enumerate(sorted(range(len(made)), key=lambda i: made[i].p)):
        standing = standing and made[i].p < level / (len(made) - k)
        made[i] = dataclasses.replace(made[i], holds=standing)
    return made
