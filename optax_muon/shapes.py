"""Shape scales: how large one update of a (reduction, output) matrix is, given an orthogonal direction."""

import abc
import dataclasses
import math

from optax_muon import _numbers


class ShapeScale(abc.ABC):
    """A factor that depends on fan-in and fan-out."""

    @abc.abstractmethod
    def factor(self, reduction: int, output: int) -> float:
        """Return the factor for one matrix with ``reduction`` inputs and ``output`` outputs."""


@dataclasses.dataclass(frozen=True)
class Jordan(ShapeScale):
    """``sqrt(max(1, output / reduction))``, Keller Jordan's (github.com/KellerJordan/Muon).

    Use it with Muon as published; it never shrinks a step.
    """

    def factor(self, reduction: int, output: int) -> float:
        """Return the factor."""
        # An empty reduction counts as one: such a matrix has no entries, and only must not divide by zero.
        return math.sqrt(max(1.0, output / max(1, reduction)))


@dataclasses.dataclass(frozen=True)
class Spectral(ShapeScale):
    """``sqrt(output / reduction)``: unit RMS-to-RMS operator norm, so learning rates carry over between widths.

    Use it where rates found on a narrow model are to hold on a wide one.

    References:
        Yang, Simon, Bernstein, A Spectral Condition for Feature Learning, arXiv 2310.17813.
    """

    def factor(self, reduction: int, output: int) -> float:
        """Return the factor."""
        return math.sqrt(output / max(1, reduction))


@dataclasses.dataclass(frozen=True)
class RMSMatch(ShapeScale):
    """``rms * sqrt(max(reduction, output))``: entries of RMS about ``rms``, as AdamW's, so its rates carry over.

    Use it to take over a learning rate and weight decay that were tuned for AdamW.

    Args:
        rms: of the update's entries, per unit of learning rate; 0.2 matches AdamW (Moonlight, arXiv 2502.16982).

    Raises:
        ValueError: for rms that is not positive.
    """

    rms: float = 0.2

    def __post_init__(self):
        """Raise on a non-positive size."""
        _numbers.require_positive("RMSMatch", rms=self.rms)

    def factor(self, reduction: int, output: int) -> float:
        """Return the factor."""
        # An orthogonal m x n matrix has min(m, n) units of squared norm over m n entries: RMS 1 / sqrt(max(m, n)).
        return self.rms * math.sqrt(max(reduction, output))


@dataclasses.dataclass(frozen=True)
class FanIn(ShapeScale):
    """``1 / sqrt(reduction)``: an update whose entries are all of one size then moves outputs alike at every width.

    Use it behind signs.
    """

    def factor(self, reduction: int, output: int) -> float:
        """Return the factor."""
        del output
        return 1 / math.sqrt(max(1, reduction))


@dataclasses.dataclass(frozen=True)
class Constant(ShapeScale):
    """The same factor for every shape; ``Constant(1.0)`` leaves the direction as it is.

    Use it to say that no scale is wanted.

    Args:
        value: the factor; a number or a tracer.
    """

    value: float = 1.0

    def factor(self, reduction: int, output: int) -> float:
        """Return the factor."""
        del reduction, output
        return self.value
