"""The largest eigenvalue, by size, of a symmetric operator on trees."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree


class TopEigenvalue(NamedTuple):
    """What Lanczos found.

    Attributes:
        value: the eigenvalue of largest size, its sign dropped.
        residual: an eigenvalue is within this of the found one; the error is smaller still, about its square.
        products: how many products with the operator it took.
    """

    value: Float[Array, ""]
    residual: Float[Array, ""]
    products: Array


@dataclasses.dataclass(frozen=True)
class Lanczos:
    """How to search for the largest eigenvalue of a Hessian's block.

    Use it to trade Hessian products against accuracy. Three vectors of the parameters' size are kept: without
    reorthogonalisation eigenvalues repeat, but the outermost ones stay right. Both ends of the spectrum must settle,
    because Hessians are indefinite and the largest by size may be negative.

    Args:
        iterations: Hessian-vector products at most.
        tolerance: stop when the residuals of both ends are below this part of the largest eigenvalue. The error of an
            eigenvalue is about the square of its residual: 0.01 gives four digits where the spectrum has a gap.
        seed: of the random start.

    Raises:
        ValueError: for iterations below 1, or a tolerance that is negative or NaN.
    """

    iterations: int = 48
    tolerance: float = 0.01
    seed: int = 0

    def __post_init__(self):
        """Raise on a search that cannot start or end."""
        if self.iterations < 1:
            raise ValueError(f"Lanczos: iterations must be at least 1, not {self.iterations}")
        if not self.tolerance >= 0:
            raise ValueError(f"Lanczos: tolerance must not be negative, not {self.tolerance}")

    def start(self, like: PyTree) -> PyTree:
        """Draw a tree of entries between -1 and 1."""
        return jax.tree.map(lambda x: _scrambled(x.shape, x.dtype, self.seed), like)

    def top(
        self, operator: Callable[[PyTree], PyTree], start: PyTree, probe: PyTree | None = None
    ) -> tuple[TopEigenvalue, Array]:
        """Search from ``start``, a tree within the operator's invariant subspace; also return ``<probe, A probe>``.

        The probe takes the loop's first turn, so that the compiled program holds one copy of the operator.
        """
        k = self.iterations
        norm = optax.tree.norm(start)
        zero = jnp.zeros([], norm.dtype)
        # A block without entries, or a start that vanishes on it, gives the eigenvalue zero and not NaN.
        first = optax.tree.scale(jnp.where(norm == 0, 0, 1 / norm), start)

        def unsettled(state):
            """Go on while products are left and an end of the spectrum is not settled."""
            i, _, _, _, _, value, residual, _ = state
            return (i < k) & ((i <= 0) | (residual > self.tolerance * value))

        def step(state):
            """Take one Lanczos step, or on turn -1 the probe's product."""
            i, before, v, diagonal, beside, _, _, along = state
            w = optax.tree.sub(operator(v), optax.tree.scale(beside[i], before))
            a = optax.tree.vdot(v, w)
            w = optax.tree.sub(w, optax.tree.scale(a, v))
            b = optax.tree.norm(w)
            # b = 0: the Krylov space is exhausted, every eigenvalue the start can see is found, residuals are zero.
            after = optax.tree.scale(jnp.where(b == 0, 0, 1 / jnp.where(b == 0, 1, b)), w)
            probing = i < 0
            diagonal = jnp.where(probing, diagonal, diagonal.at[i].set(a))
            beside = jnp.where(probing, beside, beside.at[i + 1].set(b))
            value, residual = _outermost(diagonal, beside, i)
            before, after = _choose(probing, (optax.tree.zeros_like(v), first), (v, after))
            return i + 1, before, after, diagonal, beside, value, residual, jnp.where(probing, a, along)

        tridiagonal = jnp.zeros(k, norm.dtype), jnp.zeros(k + 1, norm.dtype)
        turn = jnp.asarray(0 if probe is None else -1, jnp.int32)
        opening = optax.tree.zeros_like(first), first if probe is None else probe
        state = jax.lax.while_loop(unsettled, step, (turn, *opening, *tridiagonal, zero, zero, zero))
        return TopEigenvalue(state[5], state[6], state[0]), state[7]


def _choose(condition: Array, a: PyTree, b: PyTree) -> PyTree:
    """Choose between two trees by a scalar."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def _scrambled(shape: tuple[int, ...], dtype: Any, seed: int) -> Array:
    """Scramble each entry's index by Murmur's finaliser: `jax.random` for every leaf would compile for minutes."""
    x = jnp.arange(math.prod(shape), dtype=jnp.uint32) + jnp.uint32(seed * 0x9E3779B9 % 2**32)
    for factor in (0x85EBCA6B, 0xC2B2AE35):
        x = (x ^ (x >> 16)) * jnp.uint32(factor)
    return (((x ^ (x >> 13)) >> 8).astype(dtype) / 2**23 - 1).reshape(shape)


def _outermost(diagonal: Array, beside: Array, i: Array) -> tuple[Array, Array]:
    """Largest size of an eigenvalue of the first i + 1 rows, and the larger residual of both ends."""
    k = diagonal.shape[0]
    inner = jnp.where(jnp.arange(1, k) <= i, beside[1:k], 0)  # rows to come are not coupled and have eigenvalue zero
    # Of fixed size k x k at every turn, for the loop: 48 rows cost nothing beside one product.
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + jnp.diag(inner, 1) + jnp.diag(inner, -1))
    # The classical bound: the last component of the small eigenvector times the next off-diagonal entry.
    residuals = beside[i + 1] * jnp.abs(vectors[i])
    return jnp.maximum(jnp.abs(values[0]), jnp.abs(values[-1])), jnp.maximum(residuals[0], residuals[-1])
