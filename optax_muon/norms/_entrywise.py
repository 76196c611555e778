"""Norms of the entries: Frobenius, largest, sum, and the axis norms between them."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon.linalg._scale import length, unit_length
from optax_muon.norms._norm import Norm, Normalization


@dataclasses.dataclass(frozen=True)
class Frobenius(Norm):
    """The Euclidean norm of the entries, its own dual; the oracle normalises (normalised gradient descent).

    Use it where directions should keep their sizes relative to each other.
    """

    commutes_with_transpose = True
    commutes_with_padding = True

    @property
    def normalization(self) -> Normalization:
        """By the Frobenius norm."""
        return Normalization("both")

    def _value(self, x: Array) -> Array:
        """Frobenius norm, ``(*batch,)``."""
        return length(x, (-2, -1))[..., 0, 0]

    def _dual(self, x: Array) -> Array:
        """Frobenius norm too."""
        return self._value(x)

    def _direction(self, x: Array) -> Array:
        """Every matrix at Frobenius norm 1."""
        return unit_length(x, (-2, -1))


@dataclasses.dataclass(frozen=True)
class Max(Norm):
    """The largest entry; the dual is the sum of sizes and the oracle takes signs (SignSGD, Scion's Sign).

    Use it for heads, scaled by the fan-in, and wherever signs are wanted. Complex entries give their phase.

    References:
        Bernstein et al., signSGD, arXiv 1802.04434; Pethick et al., Scion, arXiv 2502.07529.
    """

    commutes_with_transpose = True
    commutes_with_padding = True

    @property
    def normalization(self) -> Normalization:
        """By every entry's own size."""
        return Normalization("entry")

    def _value(self, x: Array) -> Array:
        """Largest size of an entry, ``(*batch,)``."""
        return jnp.max(jnp.abs(x), axis=(-2, -1))

    def _dual(self, x: Array) -> Array:
        """Sum of sizes, ``(*batch,)``."""
        return jnp.sum(jnp.abs(x), axis=(-2, -1))

    def _direction(self, x: Array) -> Array:
        """Signs, or phases."""
        return jnp.sign(x)


@dataclasses.dataclass(frozen=True)
class L1(Norm):
    """The sum of sizes of the entries; the dual is the largest entry and the oracle steps along it alone.

    Use it for steps along single entries. Entries of equal largest size share the step evenly, so that permutations and
    transposes commute with it.
    """

    commutes_with_transpose = True
    commutes_with_padding = True

    def _value(self, x: Array) -> Array:
        """Sum of sizes, ``(*batch,)``."""
        return jnp.sum(jnp.abs(x), axis=(-2, -1))

    def _dual(self, x: Array) -> Array:
        """Largest size of an entry, ``(*batch,)``."""
        return jnp.max(jnp.abs(x), axis=(-2, -1))

    def _direction(self, x: Array) -> Array:
        """Sign at the largest entry, shared among equals, and zero elsewhere."""
        size = jnp.abs(x)
        largest = (size == jnp.max(size, axis=(-2, -1), keepdims=True)).astype(size.dtype)
        # A NaN is no entry's equal: nothing is counted, and 0 / 0 keeps the matrix NaN.
        return jnp.sign(x) * (largest / jnp.sum(largest, axis=(-2, -1), keepdims=True))


@dataclasses.dataclass(frozen=True)
class AxisNorm(Norm):
    r"""The longest of the vectors that run along one axis, each measured in the Euclidean norm.

    Use it for embeddings (along the output) and for neurons (along the reduction). ``AxisNorm("reduction")`` measures
    every output's vector of inputs (its neuron): the operator norm from l2 to l-infinity, RowNorm of papers that store
    (out, in). ``AxisNorm("output")`` measures the vector that every input (a token of an embedding) writes to: from l1
    to l2, their ColNorm.

    .. math::
        \|x\| = \max_j \|x_j\|_2, \qquad \|x\|_* = \sum_j \|x_j\|_2, \qquad
        \operatorname{lmo}(x, \rho)_j = \rho \, x_j / \|x_j\|_2

    Args:
        axis: the axis along which the vectors x_j run.

    Raises:
        ValueError: for an unknown axis.

    References:
        Pethick et al., Scion, arXiv 2502.07529.
    """

    commutes_with_padding = True

    axis: Literal["reduction", "output"]

    def __post_init__(self):
        """Raise on an unknown axis."""
        if self.axis not in ("reduction", "output"):
            raise ValueError(f"AxisNorm: axis must be 'reduction' or 'output', not {self.axis!r}")

    @property
    def normalization(self) -> Normalization:
        """By the length of an entry's vector."""
        return Normalization(self.axis)

    @property
    def _along(self) -> int:
        """The axis of the vectors as a number."""
        return -2 if self.axis == "reduction" else -1

    def _value(self, x: Array) -> Array:
        """Length of the longest vector, ``(*batch,)``."""
        return jnp.max(length(x, self._along), axis=(-2, -1))

    def _dual(self, x: Array) -> Array:
        """Sum of the vectors' lengths, ``(*batch,)``."""
        return jnp.sum(length(x, self._along), axis=(-2, -1))

    def _direction(self, x: Array) -> Array:
        """Every vector at length 1; zero vectors stay zero."""
        return unit_length(x, self._along)
