"""A rank by the size of each matrix."""

import dataclasses
import math

from optax_muon._numbers import require_positive, require_share, require_whole


@dataclasses.dataclass(frozen=True)
class RankFraction:
    """A share of the shorter side, rounded up to a multiple.

    Use it as the rank of `PowerStep` and `dion` where matrices are of many sizes, and the multiple for a rank that
    devices divide.

    Args:
        fraction: of the shorter side, above 0 and at most 1.
        multiple_of: the rank is rounded up to a multiple of this, and is never above the shorter side.

    Raises:
        ValueError: for a fraction outside (0, 1], or a multiple below 1.

    References:
        Ahn et al., Dion, arXiv 2504.05295, github.com/microsoft/dion (``rank_fraction``, ``rank_multiple_of``).
    """

    fraction: float
    multiple_of: int = 1

    def __post_init__(self):
        """Raise on what is no share."""
        require_positive("RankFraction", fraction=self.fraction)
        require_share("RankFraction: fraction", self.fraction)
        require_whole("RankFraction: multiple_of", self.multiple_of)

    def of(self, m: int, n: int) -> int:
        """Return the rank for an m x n matrix."""
        side = min(m, n)
        return min(side, self.multiple_of * math.ceil(self.fraction * side / self.multiple_of))
