"""What maps accept: everything else is one clear error."""

import math
import numbers
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def require_inexact(x: Array, what: str) -> None:
    """Raise on anything but a stack of floating-point or complex matrices."""
    if x.ndim < 2:
        raise ValueError(f"{what} takes matrices of shape (*batch, m, n), not an array of shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(f"{what} takes floating-point matrices, not {x.dtype}: cast them first")


def require_positive(owner: str, *, finite: bool = False, **options: Any) -> None:
    """Raise on numbers not above zero, NaN among them, on infinite ones if asked; arrays and tracers pass unread."""
    for name, value in options.items():
        # Written as "not > 0" so that NaN raises too. A tracer is no numbers.Real, and cannot be looked at under jit.
        if isinstance(value, numbers.Real) and not (float(value) > 0 and (float(value) < math.inf or not finite)):
            raise ValueError(f"{owner}: {name} must be positive{' and finite' if finite else ''}, not {value}")


def require_rank(owner: str, rank: int, x: Array) -> None:
    """Raise on a rank that the matrices, unless empty, cannot have."""
    if x.ndim >= 2 and 0 not in x.shape and rank > min(x.shape[-2:]):
        raise ValueError(f"{owner}: rank {rank} exceeds the shorter side of matrices of shape {x.shape}")
