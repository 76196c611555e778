"""Square matrices kept as their diagonal blocks alone, and the product with them."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, summable
from optax_muon.linalg._map import Info, MatrixOp


def block_size(n: int, largest: int | None) -> int:
    """Return the size of the fewest equal blocks of ``n`` that are no larger than ``largest``."""
    if largest is None or n <= largest:
        return n
    return next(size for size in range(largest, 0, -1) if n % size == 0)


def diagonal_blocks(k: Float[Array, "n n"], size: int) -> Float[Array, "n size"]:
    """Return the blocks of ``size`` on the diagonal of ``k``, one below the other."""
    blocks, along = k.shape[-1] // size, jnp.arange(k.shape[-1] // size)
    return k.reshape(blocks, size, blocks, size)[along, :, along, :].reshape(k.shape[-1], size)


def inverse_of_blocks(k: Float[Array, "n size"], ridge: Any, eps: float) -> Float[Array, "n size"]:
    """Return the inverse of every block with a ridge, by Cholesky; I where it has none.

    Args:
        k: the blocks, one below the other.
        ridge: in units of a block's mean eigenvalue.
        eps: added to the diagonal.
    """
    blocks = _apart(k)
    size, identity = blocks.shape[-1], jnp.broadcast_to(jnp.eye(blocks.shape[-1], dtype=k.dtype), blocks.shape)
    mean = jnp.trace(blocks, axis1=-2, axis2=-1)[..., None, None] / max(size, 1)
    factor = jnp.linalg.cholesky(blocks + (ridge * mean + eps) * identity)
    inverse = jax.scipy.linalg.cho_solve((factor, True), identity)
    return jnp.where(jnp.isfinite(inverse).all((-2, -1), keepdims=True), inverse, identity).reshape(k.shape)


def _apart(k: Float[Array, "*batch n size"]) -> Float[Array, "*batch blocks size size"]:
    """Give blocks that stand one below the other an axis."""
    size = k.shape[-1]
    return k.reshape(*k.shape[:-2], k.shape[-2] // max(size, 1), size, size)


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
        eye = jnp.eye(m, dtype=accumulator_dtype(dtype))
        blocks = diagonal_blocks(eye, block_size(m, self.largest))
        return jnp.broadcast_to(blocks, (*batch, *blocks.shape))

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Array, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Array, Info]:
        """Multiply every matrix; the result has the dtype of ``x``."""
        del key
        self.check_others(x, others)
        # A matrix of several blocks is a batch of as many slices of its inputs.
        blocks = _apart(carry)
        sliced = x.reshape(*blocks.shape[:-1], x.shape[-1])
        y = FLOAT32.matmul(blocks, summable(sliced.astype(carry.dtype)))
        return y.reshape(x.shape).astype(x.dtype), carry, Info()
