"""Pre-normalisers: they bring the singular values into [0, 1] before an iteration starts."""

import abc
import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype


class Normalizer(abc.ABC):
    """Scales each matrix of a stack so that its largest singular value is at most 1."""

    @abc.abstractmethod
    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Scale; the result is in float32 or wider. Zero matrices stay zero."""

    @abc.abstractmethod
    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Say what ``apply`` does to the spectrum ``s``."""


@dataclasses.dataclass(frozen=True)
class Frobenius(Normalizer):
    """Divide by the Frobenius norm, which bounds the spectral norm.

    Each matrix is first divided by its largest entry, so that no square under- or overflows: 1e-30 and 1e30 come out
    alike, with no epsilon to bias small gradients.
    """

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Scale to Frobenius norm 1."""
        x = divide_by_largest_entry(x)
        norm = jnp.sqrt(jnp.sum(jnp.real(x * jnp.conj(x)), axis=(-2, -1), keepdims=True))
        return x / jnp.where(norm == 0, 1, norm)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Divide the spectrum by its Euclidean norm."""
        norm = jnp.linalg.norm(s, axis=-1, keepdims=True)
        return s / jnp.where(norm == 0, 1, norm)


def divide_by_largest_entry(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
    """Bring the largest entry of every matrix to 1, in float32 or wider; zero stays zero, NaN and Inf give NaN."""
    x = x.astype(accumulator_dtype(x.dtype))
    largest = jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True)
    return x / jnp.where(largest == 0, 1, largest)
