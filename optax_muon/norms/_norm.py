"""The contract of a norm on matrices: its value, its dual and its linear minimisation oracle."""

import abc
import dataclasses
import math
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_finite_positive
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.shapes import ShapeScale


@dataclasses.dataclass(frozen=True)
class Normalization(ShapeScale):
    """An oracle that divides every entry by a length and multiplies by a factor of the shape.

    Such an oracle needs no whole matrix on one device: transforms run it on the shards, however a parameter is split.

    Args:
        over: the side along which the vector runs whose length an entry is divided by; ``"entry"``: by its own size.
        factors: objects with a ``factor(reduction, output)``, multiplied.
    """

    over: Literal["entry", "reduction", "output", "both"]
    factors: tuple[Any, ...] = ()

    def factor(self, reduction: int, output: int) -> float:
        """Return the product of the factors."""
        # A tuple, so that `Rescaled` norms nest: the factor of each is appended, and the oracle runs once.
        return math.prod(scale.factor(reduction, output) for scale in self.factors)


class Norm(abc.ABC):
    r"""A norm on matrices (reduction, output), applied to each matrix of a stack.

    .. math::
        \|x\|_* = \max_{\|y\| \le 1} \langle x, y \rangle, \qquad
        \operatorname{lmo}(x, \rho) = \arg\max_{\|y\| \le \rho} \langle x, y \rangle

    The oracle returns the *ascent* direction, so :math:`\langle x, \operatorname{lmo}(x, \rho) \rangle = \rho \|x\|_*`
    and the learning rate alone flips the sign. A norm is an immutable description (a frozen dataclass). Where several
    maximisers exist each norm says which it takes; zero gives zero, though every point of the ball would do.

    A new norm writes ``_value``, ``_dual`` and ``_direction``: they receive a non-empty stack in float32 or wider.

    Attributes:
        commutes_with_transpose: ``lmo(x.T) == lmo(x).T``; lets transposed shapes share a bucket.
        commutes_with_padding: zero rows and columns stay zero and change nothing else.

    References:
        Bernstein and Newhouse, Old Optimizer, New Norm, arXiv 2409.20325.
    """

    commutes_with_transpose: ClassVar[bool] = False
    commutes_with_padding: ClassVar[bool] = False

    @property
    def normalization(self) -> Normalization | None:
        """The oracle as a `Normalization`, or None where it is none."""
        return None

    def value(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
        """Measure every matrix, in float32 or wider; an empty matrix measures zero, NaN gives NaN."""
        return _seen(x, self._value(self._wide(x))) if x.size else jnp.zeros(x.shape[:-2], self._wide(x).real.dtype)

    def dual(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
        """Measure every matrix in the dual norm, exactly, whatever approximation the oracle uses."""
        return _seen(x, self._dual(self._wide(x))) if x.size else jnp.zeros(x.shape[:-2], self._wide(x).real.dtype)

    def lmo(
        self, x: Float[Array, "*batch m n"], radius: float | Float[Array, "*batch"] = 1.0
    ) -> Float[Array, "*batch m n"]:
        """Return the point of the ball of ``radius`` (one, or one per matrix) that goes furthest along ``x``.

        The result has the dtype of ``x``.

        Raises:
            ValueError: for a radius that is not positive, or a shape on which the norm does not exist.
            TypeError: for integer matrices.
        """
        # A radius of zero or below would turn the ball inside out and the step round.
        require_finite_positive(f"{type(self).__name__}.lmo", radius=radius)
        y = self.direction(x)
        each = jnp.broadcast_to(jnp.asarray(radius, y.real.dtype), x.shape[:-2])
        return (each[..., None, None] * y).astype(x.dtype)

    def direction(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Return the oracle's point of the unit ball, left in float32 or wider."""
        wide = self._wide(x)
        return self._direction(wide) if x.size else wide

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError if the norm does not exist on matrices of ``shape``; most exist on all."""
        del shape

    @abc.abstractmethod
    def _value(self, x: Array) -> Array:
        """Measure a non-empty stack ``(*batch, m, n)``, float32 or wider; return ``(*batch,)``."""

    @abc.abstractmethod
    def _dual(self, x: Array) -> Array:
        """Measure it in the dual norm; return ``(*batch,)``."""

    @abc.abstractmethod
    def _direction(self, x: Array) -> Array:
        """Return the oracle's point of the unit ball, ``(*batch, m, n)``; zero gives zero."""

    def _wide(self, x: Array) -> Array:
        """Check dtype and shape, and widen to float32 or wider."""
        require_inexact(x, type(self).__name__)
        self.check(x.shape)
        return x.astype(accumulator_dtype(x.dtype))


def _seen(x: Array, measured: Array) -> Array:
    """Let a NaN of a matrix be seen in what was measured of it: a maximum may drop it, by the processor."""
    return jnp.where(jnp.any(jnp.isnan(x), axis=(-2, -1)), jnp.nan, measured)


def inner(x: Float[Array, "*batch m n"], y: Float[Array, "*batch m n"]) -> Float[Array, "*batch"]:
    """Pair two stacks matrix by matrix, ``Re <x, y>``, in float32 or wider."""
    product = jnp.real(jnp.conj(x.astype(accumulator_dtype(x.dtype))) * y)
    return jnp.sum(product, axis=(-2, -1))
