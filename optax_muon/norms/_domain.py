"""Convex sets in which weights stay, as far as a step inside them needs to know them."""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_positive
from optax_muon._types import Number
from optax_muon.linalg._scale import one_if_zero

Measure = Callable[[Array], Array]  # the Euclidean norm of every matrix, with axes that broadcast


class Domain(abc.ABC):
    """A closed convex set of arrays, for `transforms.step_inside`; an immutable description.

    ``measure`` gives the Euclidean norm of every matrix of an array, wherever its shards are.
    """

    @abc.abstractmethod
    def arc(self, w: Float[Array, "..."], g: Float[Array, "..."], time: Array, measure: Measure) -> Array:
        """Return the point of the set nearest to ``w - time g``, for times above zero."""

    @abc.abstractmethod
    def free(self, w: Float[Array, "..."], g: Float[Array, "..."], measure: Measure) -> Array:
        """Return the part of ``g`` along whose negative weights can move at first."""

    @abc.abstractmethod
    def vertex(self, w: Float[Array, "..."], g: Float[Array, "..."], measure: Measure) -> Array | None:
        """Return the point of the set that goes furthest against ``g``, nearest to ``w``; None: it has no end."""


@dataclasses.dataclass(frozen=True)
class Box(Domain):
    """Every entry between two bounds.

    Args:
        low: a number or an array that broadcasts; minus infinity is no bound.
        high: above ``low``.

    Raises:
        ValueError: for numbers ``low >= high``.
    """

    low: Any
    high: Any

    def __post_init__(self):
        """Raise on an empty box."""
        if isinstance(self.low, int | float) and isinstance(self.high, int | float) and not self.low < self.high:
            raise ValueError(f"Box: low must be below high, not {self.low} and {self.high}")

    def arc(self, w: Float[Array, "..."], g: Float[Array, "..."], time: Array, measure: Measure) -> Array:
        """Clip entries."""
        del measure
        return self.clip(w - time * g)

    def free(self, w: Float[Array, "..."], g: Float[Array, "..."], measure: Measure) -> Array:
        """Leave out entries that a bound holds."""
        del measure
        held = ((g > 0) & (w <= jnp.asarray(self.low, w.dtype))) | ((g < 0) & (w >= jnp.asarray(self.high, w.dtype)))
        return jnp.where(held, 0, g)

    def vertex(self, w: Float[Array, "..."], g: Float[Array, "..."], measure: Measure) -> Array:
        """Return the bound of every entry on the side where the loss falls."""
        del measure
        low, high = (jnp.asarray(bound, w.dtype) for bound in (self.low, self.high))
        return jnp.where(g > 0, low, jnp.where(g < 0, high, self.clip(w)))

    def clip(self, x: Float[Array, "..."]) -> Array:
        """Return the nearest point of the box."""
        return jnp.clip(x, jnp.asarray(self.low, x.dtype), jnp.asarray(self.high, x.dtype))


@dataclasses.dataclass(frozen=True)
class Ball(Domain):
    """Every matrix in the Euclidean ball around zero.

    Args:
        radius: of the Frobenius norm, positive.

    Raises:
        ValueError: for a radius that is not positive.
    """

    radius: Number

    def __post_init__(self):
        """Raise on an empty ball."""
        require_positive("Ball", radius=self.radius)

    def arc(self, w: Float[Array, "..."], g: Float[Array, "..."], time: Array, measure: Measure) -> Array:
        """Shorten what is too long."""
        return self._shortened(w - time * g, measure)

    def free(self, w: Float[Array, "..."], g: Float[Array, "..."], measure: Measure) -> Array:
        """Leave out the part outwards, where the weights are on the sphere."""
        norm = measure(w)
        unit = w / one_if_zero(norm)
        # |a + b|^2 - |a - b|^2 = 4 <a, b>, by the norm that sums over the shards of a matrix.
        along = (jnp.square(measure(g + unit)) - jnp.square(measure(g - unit))) / 4
        outwards = (norm >= jnp.asarray(self.radius, norm.dtype)) & (along < 0)
        return jnp.where(outwards, g - along * unit, g)

    def vertex(self, w: Float[Array, "..."], g: Float[Array, "..."], measure: Measure) -> Array:
        """Return the point of the sphere against ``g``."""
        norm = measure(g)
        return jnp.where(norm == 0, self._shortened(w, measure), -self.radius * g / one_if_zero(norm))

    def _shortened(self, x: Array, measure: Measure) -> Array:
        """Return the nearest point of the ball."""
        norm = measure(x)
        return x * jnp.minimum(1, jnp.asarray(self.radius, norm.dtype) / one_if_zero(norm))


@dataclasses.dataclass(frozen=True)
class Affine(Domain):
    """The weights as they are, plus a subspace.

    Args:
        projection: the orthogonal projection of an array onto the subspace; ``lambda g: g - g.mean(0, keepdims=True)``
            keeps the sum of every output's weights.
    """

    projection: Callable[[Array], Array]

    def arc(self, w: Float[Array, "..."], g: Float[Array, "..."], time: Array, measure: Measure) -> Array:
        """Go straight."""
        return w - time * self.free(w, g, measure)

    def free(self, w: Float[Array, "..."], g: Float[Array, "..."], measure: Measure) -> Array:
        """Return the part in the subspace."""
        del w, measure
        return self.projection(g)

    def vertex(self, w: Float[Array, "..."], g: Float[Array, "..."], measure: Measure) -> None:
        """Return None: there is no end."""
        del w, g, measure
