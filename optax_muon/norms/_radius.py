"""Radii that follow the dual norm: how far a step goes along a norm's oracle."""

import abc
import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import is_known, require_finite_positive
from optax_muon._types import Number


class Radius(abc.ABC):
    """A radius as a function of the dual norm of what is stepped along, one per matrix."""

    @abc.abstractmethod
    def at(self, dual: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Return the radii of matrices with these dual norms."""


@dataclasses.dataclass(frozen=True)
class Fixed(Radius):
    """The same radius always: normalised steepest descent (Muon, Scion).

    Use it with a learning rate schedule: the step's size is then the schedule's alone.

    Args:
        radius: of the ball, in the units of the norm; a number or a tracer.

    Raises:
        ValueError: for a radius that is not positive.

    References:
        Pethick et al., Scion, arXiv 2502.07529.
    """

    radius: Number = 1.0

    def __post_init__(self):
        """Raise on a radius that is not positive."""
        require_finite_positive("Fixed", radius=self.radius)

    def at(self, dual: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Return the radius, once per matrix."""
        return jnp.full_like(dual, self.radius)


@dataclasses.dataclass(frozen=True)
class DualPower(Radius):
    """A power of the dual norm: 1 is steepest descent for a quadratic model (PolarGrad), 0 normalised descent.

    Use it where steps should shrink as the gradient does.

    Args:
        power: of the dual norm, any real number; a number or a tracer.

    References:
        Lau, Long, Su, PolarGrad, arXiv 2505.21799; other powers: Lau and Su, arXiv 2605.18106.
    """

    power: Number = 1.0

    def at(self, dual: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Return the radii; a zero dual norm has radius zero whatever the power."""
        # Not "== 0": an approximate oracle may fall a rounding below, where a fractional power is NaN.
        zero = dual <= 0
        return jnp.where(zero, 0, jnp.where(zero, 1, dual) ** self.power)


@dataclasses.dataclass(frozen=True)
class Smoothness(Radius):
    r"""Gluon's adaptive radius under layer-wise (L0, L1) smoothness.

    Use it with constants that `fit_smoothness` found, layer by layer.

    .. math:: \rho = d / (L_0 + L_1 d) \quad \text{with d the dual norm}

    ``Smoothness(1, 0)`` is ``DualPower(1)`` and ``Smoothness(0, 1)`` is ``Fixed(1)``.

    Args:
        constant: L0 >= 0, in dual norm per norm.
        slope: L1 >= 0, one over norm; not both zero.

    Raises:
        ValueError: for a negative or infinite constant, or two zeros.

    References:
        Riabinin et al., Gluon, arXiv 2505.13416.
    """

    constant: float = 0.0
    slope: float = 1.0

    def __post_init__(self):
        """Raise on negative constants and two zeros."""
        numbers = [x for x in (self.constant, self.slope) if is_known(x)]
        if any(not 0 <= x < float("inf") for x in numbers) or len(numbers) == 2 and not any(numbers):
            raise ValueError(f"Smoothness: constants must be >= 0 and not both 0, not {self.constant} and {self.slope}")

    def at(self, dual: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Return the radii; a zero dual norm has radius zero."""
        # With L0 = 0 a zero dual norm would be 0 / 0.
        return dual / jnp.where(dual == 0, 1, self.constant + self.slope * dual)


@dataclasses.dataclass(frozen=True)
class Clipped(Radius):
    """The dual norm, but at most ``limit``: gradient descent near the optimum, normalised far from it (Clipped Scion).

    Use it where a fixed step would jump about an optimum.

    Args:
        limit: the largest radius, in the units of the norm.

    Raises:
        ValueError: for a limit that is not positive.
    """

    limit: Number = 1.0

    def __post_init__(self):
        """Raise on a limit that is not positive."""
        require_finite_positive("Clipped", limit=self.limit)

    def at(self, dual: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Return the radii."""
        return jnp.minimum(dual, self.limit)
