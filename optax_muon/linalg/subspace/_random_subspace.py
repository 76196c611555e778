"""Projection onto a random subspace of the outputs."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optax_muon._numbers import require_whole
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg._map import Info, MatrixOp


@dataclasses.dataclass(frozen=True)
class RandomSubspace(MatrixOp):
    r"""Keep the part of every matrix whose outputs are in a subspace that a key chooses.

    Use it on random directions, which it makes normal in the subspace.

    .. math:: Y = X P P^T, \qquad P^T P = I_r, \quad P \text{ from the QR factors of a normal } (n, r) \text{ matrix}

    for a matrix (inputs, outputs) = (m, n).

    Args:
        rank: r; a matrix with fewer outputs stays as it is.

    Raises:
        ValueError: for a rank that is no whole number of at least 1.

    State: none.

    References:
        ZO-Muon, arXiv 2602.17155.
    """

    needs_key: ClassVar[bool] = True
    real_only: ClassVar[bool] = True

    rank: int

    def __post_init__(self):
        """Raise on a rank below one."""
        require_whole("RandomSubspace: rank", self.rank)

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Keep nothing."""
        del shape, dtype
        return ()

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Project every matrix with its own key."""
        self.check_others(x, others)
        n = x.shape[-1]
        if self.rank >= n or 0 in x.shape:
            return x, carry, Info()

        def project(one: Array, mine: Array) -> Array:
            """Project one matrix."""
            basis = jnp.linalg.qr(jax.random.normal(mine, (n, self.rank), one.dtype))[0]
            return FLOAT32.matmul(FLOAT32.matmul(one, basis), basis.T)

        for _ in x.shape[:-2]:
            project = jax.vmap(project)
        return project(x.astype(accumulator_dtype(x.dtype)), key).astype(x.dtype), carry, Info()  # pyright: ignore[reportArgumentType]
