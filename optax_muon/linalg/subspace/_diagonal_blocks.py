"""Square matrices kept as their diagonal blocks alone, and the product with them."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, summable
from optax_muon.linalg._map import Info, MatrixOp


def block_size(n: int, largest: int | None) -> int:
    """Return the size of the fewest equal blocks of ``n`` that are no larger than ``largest``."""
    if largest is None or n <= largest:
        return n
    return next(size for size in range(largest, 0, -1) if n % size == 0)


def diagonal_blocks(k: Float[Array, "n n"], size: int) -> Array:
    """Return the blocks of ``size`` on the diagonal of ``k``, (n / size, size, size); one alone stands without axis."""
    if k.shape[-1] == size:
        return k
    blocks = k.shape[-1] // size
    along = jnp.arange(blocks)
    return k.reshape(blocks, size, blocks, size)[along, :, along, :]


@dataclasses.dataclass(frozen=True)
class TimesBlocks(MatrixOp):
    """Multiply from the reduction side by square matrices, kept as diagonal blocks; the state stays.

    Args:
        largest: block; None: one block for every matrix.
    """

    largest: int | None = None
    real_only: ClassVar[bool] = True

    def init(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return I for every matrix."""
        *batch, m, _ = shape
        size = block_size(m, self.largest)
        full = (*batch, *((m // size,) if size < m else ()), size, size)
        return jnp.broadcast_to(jnp.eye(size, dtype=accumulator_dtype(dtype)), full)

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Array, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Array, Info]:
        """Multiply every matrix; the result has the dtype of ``x``."""
        del key
        self.check_others(x, others)
        # A matrix of several blocks is a batch of as many slices of its inputs.
        sliced = x.reshape(*carry.shape[:-1], x.shape[-1])
        y = FLOAT32.matmul(carry, summable(sliced.astype(carry.dtype)))
        return y.reshape(x.shape).astype(x.dtype), carry, Info()
