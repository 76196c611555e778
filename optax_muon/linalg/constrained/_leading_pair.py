"""The largest singular value and its vectors."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32
from optax_muon.linalg._decompositions import svd
from optax_muon.linalg._scale import divide_by_largest_entry, largest_entry, length, quotient


class LeadingPair(NamedTuple):
    """The largest singular value ``(*batch,)`` and its vectors ``(*batch, m)``, zero for W = 0, and ``(*batch, n)``."""

    left: Array
    size: Array
    right: Array


def leading_pair(w: Float[Array, "*batch m n"], power_steps: int | None, start: Array | None = None) -> LeadingPair:
    """Find them by power iteration from ``start`` ``(*batch, n)`` or fixed noise; without steps decompose."""
    scale = largest_entry(w)[..., 0, 0]
    w = divide_by_largest_entry(w)
    if power_steps is None:
        u, s, vh = svd(w)
        return LeadingPair(jnp.where(s[..., :1] == 0, 0, u[..., :, 0]), s[..., 0] * scale, vh[..., 0, :])
    start = noise(w.shape[-1], w.dtype) if start is None else start

    def step(_: Any, pair: LeadingPair) -> LeadingPair:
        """Multiply by the matrix and back."""
        u = _unit(FLOAT32.matmul(w, pair.right[..., None])[..., 0])
        v = FLOAT32.matmul(w.mT, u[..., None])[..., 0]
        return LeadingPair(u, length(v, -1)[..., 0], _unit(v))

    # The first step is outside the loop: its products give the vectors the sharding that the loop keeps.
    first = step(0, LeadingPair(w[..., 0], scale, jnp.broadcast_to(start, (*w.shape[:-2], w.shape[-1]))))
    found = jax.lax.fori_loop(1, power_steps, step, first)
    return found._replace(size=found.size * scale)


def noise(size: int, dtype: Any) -> Array:
    """Return a fixed vector of noise, to which no singular vector of trained weights is orthogonal."""
    return jnp.asarray(np.random.default_rng(0).standard_normal(size), dtype)


def _unit(x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Divide by the length; zero stays zero."""
    size = length(x, -1)
    return quotient(x, jnp.where(size == 0, 1, size))
