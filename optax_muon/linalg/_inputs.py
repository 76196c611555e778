"""What maps accept: everything else is one clear error."""

import jax.numpy as jnp
from jaxtyping import Array


def require_inexact(x: Array, what: str) -> None:
    """Raise on anything but a stack of floating-point or complex matrices."""
    if x.ndim < 2:
        raise ValueError(f"{what} takes matrices of shape (*batch, m, n), not an array of shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{what} takes floating-point matrices, not {x.dtype}: cast them first")


def require_rank(owner: str, rank: int, x: Array) -> None:
    """Raise on a rank that the matrices, unless empty, cannot have."""
    if x.ndim >= 2 and 0 not in x.shape and rank > min(x.shape[-2:]):
        raise ValueError(f"{owner}: rank {rank} exceeds the shorter side of matrices of shape {x.shape}")
