"""Sketches: a few random combinations of the columns of a matrix."""

import abc
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32


class Sketch(abc.ABC):
    """Draws columns that span much of a matrix's range, one matrix and one key at a time."""

    @abc.abstractmethod
    def apply(self, x: Float[Array, "m n"], size: int, key: Array) -> Float[Array, "m k"]:
        """Return ``size`` columns (m, size), ``size <= n``."""


@dataclasses.dataclass(frozen=True)
class GaussianSketch(Sketch):
    """Combine all columns with normal weights: one product, and the best range for its size.

    Use it unless products are what costs.

    References:
        Halko, Martinsson, Tropp, SIAM Review 53 (2011).
    """

    def apply(self, x: Float[Array, "m n"], size: int, key: Array) -> Float[Array, "m k"]:
        """Multiply by a normal (n, size) matrix."""
        return FLOAT32.matmul(x, jax.random.normal(key, (x.shape[1], size), x.dtype))


@dataclasses.dataclass(frozen=True)
class ColumnSketch(Sketch):
    """Take columns at random, each at most once: no product at all, but columns of one spike may be missed.

    Args:
        by_norm: draw with probability proportional to the squared norm (a Kaczmarz sketch) instead of uniformly.
            Columns of zeros are then taken last.

    References:
        He, Deng, Lu, arXiv 2509.11983.
    """

    by_norm: bool = False

    def apply(self, x: Float[Array, "m n"], size: int, key: Array) -> Float[Array, "m k"]:
        """Select columns."""
        # From the smallest normal number on: log(0) of a column that has weight would be -inf, like one that has none.
        draw = jax.random.uniform(key, (x.shape[1],), jnp.real(x).dtype, minval=jnp.finfo(x.dtype).tiny)
        if self.by_norm:
            # The largest of log(u) / p are a draw without replacement in proportion to p (Efraimidis, Spirakis).
            weight = jnp.sum(jnp.square(jnp.abs(x)), axis=0)
            draw = jnp.where(weight > 0, jnp.log(draw) / jnp.where(weight > 0, weight, 1), -jnp.inf)
        return x[:, jax.lax.top_k(draw, size)[1]]
