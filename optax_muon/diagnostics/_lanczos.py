"""The largest eigenvalue, by size, of a symmetric operator on trees."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree


class TopEigenvalue(NamedTuple):
    """What Lanczos found.

    Attributes:
        value: the eigenvalue of largest size, its sign dropped.
        residual: an eigenvalue lies within this of the found one; the error is smaller still, about its square.
        products: how many products with the operator it took.
    """

    value: Float[Array, ""]
    residual: Float[Array, ""]
    products: Array


@dataclasses.dataclass(frozen=True)
class Lanczos:
    """How to search for the largest eigenvalue of a Hessian's block.

    Three vectors of the parameters' size are kept: without reorthogonalisation eigenvalues repeat, but the outermost
    ones stay right. Both ends of the spectrum must settle, because Hessians are indefinite and the largest by size
    may be negative.

    Args:
        iterations: Hessian-vector products at most.
        tolerance: stop when the residuals of both ends are below this part of the largest eigenvalue. The error of an
            eigenvalue is about the square of its residual: 0.01 gives four digits where the spectrum has a gap.
        seed: of the random start.
    """

    iterations: int = 48
    tolerance: float = 0.01
    seed: int = 0

    def __post_init__(self):
        """Refuse a search that cannot start or end."""
        if self.iterations < 1:
            raise ValueError(f"Lanczos: iterations must be at least 1, not {self.iterations}")
        if not self.tolerance >= 0:
            raise ValueError(f"Lanczos: tolerance must not be negative, not {self.tolerance}")

    def start(self, like: PyTree) -> PyTree:
        """Draw a Gaussian tree."""
        return optax.tree.random_like(jax.random.key(self.seed), like, jax.random.normal)

    def top(self, operator: Callable[[PyTree], PyTree], start: PyTree) -> TopEigenvalue:
        """Search from ``start``, a tree within the operator's invariant subspace."""
        k = self.iterations
        norm = optax.tree.norm(start)
        zero = jnp.zeros([], norm.dtype)
        first = optax.tree.scale(jnp.where(norm == 0, 0, 1 / norm), start)

        def unsettled(state):
            i, _, _, _, _, value, residual = state
            return (i < k) & ((i == 0) | (residual > self.tolerance * value))

        def step(state):
            i, before, v, diagonal, beside, _, _ = state
            w = optax.tree.sub(operator(v), optax.tree.scale(beside[i], before))
            a = optax.tree.vdot(v, w)
            w = optax.tree.sub(w, optax.tree.scale(a, v))
            b = optax.tree.norm(w)
            diagonal, beside = diagonal.at[i].set(a), beside.at[i + 1].set(b)
            value, residual = _outermost(diagonal, beside, i)
            after = optax.tree.scale(jnp.where(b == 0, 0, 1 / jnp.where(b == 0, 1, b)), w)
            return i + 1, v, after, diagonal, beside, value, residual

        tridiagonal = jnp.zeros(k, norm.dtype), jnp.zeros(k + 1, norm.dtype)
        state = (jnp.zeros([], jnp.int32), optax.tree.zeros_like(first), first, *tridiagonal, zero, zero)
        i, _, _, _, _, value, residual = jax.lax.while_loop(unsettled, step, state)
        return TopEigenvalue(value, residual, i)


def _outermost(diagonal: Array, beside: Array, i: Array) -> tuple[Array, Array]:
    """Largest size of an eigenvalue of the first i + 1 rows, and the larger residual of both ends."""
    k = diagonal.shape[0]
    inner = jnp.where(jnp.arange(1, k) <= i, beside[1:k], 0)  # rows to come are not coupled and have eigenvalue zero
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(inner, 1) + jnp.diag(inner, -1))
    residuals = beside[i + 1] * jnp.abs(vectors[i])
    return jnp.maximum(jnp.abs(values[0]), jnp.abs(values[-1])), jnp.maximum(residuals[0], residuals[-1])
