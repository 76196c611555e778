"""Norms of the entries: Frobenius, largest, sum, and the axis norms between them."""

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon.norms._norm import Norm, Normalization


@dataclasses.dataclass(frozen=True)
class Frobenius(Norm):
    """The Euclidean norm of the entries, its own dual; the oracle normalises (normalised gradient descent)."""

    commutes_with_transpose = True
    commutes_with_padding = True

    @property
    def normalization(self) -> Normalization:
        """By the Frobenius norm."""
        return Normalization("both")

    def _value(self, x: Array) -> Array:
        return length(x, (-2, -1))[..., 0, 0]

    def _dual(self, x: Array) -> Array:
        return self._value(x)

    def _direction(self, x: Array) -> Array:
        return normalized(x, (-2, -1))


@dataclasses.dataclass(frozen=True)
class Max(Norm):
    """The largest entry; the dual is the sum of sizes and the oracle takes signs (SignSGD, Scion's Sign).

    Complex entries give their phase.
    """

    commutes_with_transpose = True
    commutes_with_padding = True

    @property
    def normalization(self) -> Normalization:
        """By every entry's own size."""
        return Normalization("entry")

    def _value(self, x: Array) -> Array:
        return jnp.max(jnp.abs(x), axis=(-2, -1))

    def _dual(self, x: Array) -> Array:
        return jnp.sum(jnp.abs(x), axis=(-2, -1))

    def _direction(self, x: Array) -> Array:
        return jnp.sign(x)


@dataclasses.dataclass(frozen=True)
class L1(Norm):
    """The sum of sizes of the entries; the dual is the largest entry and the oracle steps along it alone.

    Entries of equal largest size share the step evenly, so that permutations and transposes commute with it.
    """

    commutes_with_transpose = True
    commutes_with_padding = True

    def _value(self, x: Array) -> Array:
        return jnp.sum(jnp.abs(x), axis=(-2, -1))

    def _dual(self, x: Array) -> Array:
        return jnp.max(jnp.abs(x), axis=(-2, -1))

    def _direction(self, x: Array) -> Array:
        size = jnp.abs(x)
        largest = (size == jnp.max(size, axis=(-2, -1), keepdims=True)).astype(size.dtype)
        # A NaN is no entry's equal: nothing is counted, and 0 / 0 keeps the matrix NaN.
        return jnp.sign(x) * (largest / jnp.sum(largest, axis=(-2, -1), keepdims=True))


@dataclasses.dataclass(frozen=True)
class AxisNorm(Norm):
    r"""The longest of the vectors that run along one axis, each measured in the Euclidean norm.

    ``AxisNorm("reduction")`` measures every output's vector of inputs (its neuron): the operator norm from l2 to
    l-infinity, RowNorm of papers that store (out, in). ``AxisNorm("output")`` measures the vector that every input (a
    token of an embedding) writes to: from l1 to l2, their ColNorm.

    .. math::
        \|x\| = \max_j \|x_j\|_2, \qquad \|x\|_* = \sum_j \|x_j\|_2, \qquad
        \operatorname{lmo}(x, \rho)_j = \rho \, x_j / \|x_j\|_2

    Args:
        axis: the axis along which the vectors x_j run.
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
        return -2 if self.axis == "reduction" else -1

    def _value(self, x: Array) -> Array:
        return jnp.max(length(x, self._along), axis=(-2, -1))

    def _dual(self, x: Array) -> Array:
        return jnp.sum(length(x, self._along), axis=(-2, -1))

    def _direction(self, x: Array) -> Array:
        return normalized(x, self._along)


def length(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Euclidean length along axes, which stay with size 1; no square under- or overflows."""
    scale = _largest(x, axis)
    return scale * _plain_length(x / scale, axis)


def normalized(x: Array, axis: int | tuple[int, ...]) -> Array:
    """Divide by the Euclidean length along axes; zero stays zero, NaN and Inf give NaN."""
    x = x / _largest(x, axis)
    norm = _plain_length(x, axis)
    return x / jnp.where(norm == 0, 1, norm)


def _largest(x: Array, axis: int | tuple[int, ...]) -> Array:
    largest = jnp.max(jnp.abs(x), axis=axis, keepdims=True)
    # Dividing by Inf would turn the length of an infinite vector into NaN.
    return jnp.where((largest == 0) | jnp.isinf(largest), 1, largest)


def _plain_length(x: Array, axis: int | tuple[int, ...]) -> Array:
    return jnp.sqrt(jnp.sum(jnp.real(x * jnp.conj(x)), axis=axis, keepdims=True))
