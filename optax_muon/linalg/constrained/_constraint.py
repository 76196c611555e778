"""Linear equations on a matrix: what a constraint gives to the solver of its dual."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Array, Float


class Equations(NamedTuple):
    """The equations ``L(D) = 0`` of every matrix of a stack.

    Attributes:
        residual: L, from matrices ``(*batch, m, n)`` to what should be zero, ``(*batch, ...)``.
        adjoint: L*, from multipliers shaped like the residual to matrices.
        carried: what the next call may start from.
    """

    residual: Callable[[Array], Array]
    adjoint: Callable[[Array], Array]
    carried: dict[str, Array]


class Constraint(abc.ABC):
    """Linear equations on the directions in which matrices may move, and how their dual is solved.

    An immutable description (a frozen dataclass). Matrices are ``(*batch, reduction, output)``.

    Attributes:
        needs_weights: whether the equations depend on the weights.
        one_equation: whether there is one for each matrix: its multiplier is found by bisection, others by descent.
        size: the norm of ``L L*``, which makes one rate fit all constraints.
        guess: the first multipliers, in units of ``-L(X) / size``; 1 gives the projection where L is simple enough.
    """

    needs_weights: ClassVar[bool] = True
    one_equation: ClassVar[bool] = False
    size: ClassVar[float] = 1.0
    guess: ClassVar[float] = 0.0

    def constants(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Give arrays of every matrix that the state keeps; none for most."""
        del shape, dtype
        return {}

    def carried(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Give what a warm start keeps beside the multipliers."""
        del shape, dtype
        return {}

    @abc.abstractmethod
    def multipliers(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the multipliers for matrices of ``shape``."""

    @abc.abstractmethod
    def equations(self, weights: Float[Array, "*batch m n"] | None, state: Mapping[str, Array]) -> Equations:
        """Set up the equations at these weights, ``(*batch, m, n)`` in float32 or wider."""
