"""Square roots of positive semi-definite matrices by products only."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32
from optax_muon.linalg._scale import length, square_root
from optax_muon.linalg.orthogonal._coefficients import POLAR_EXPRESS_PAPER_2025

# Rounding leaves eigenvalues of about -1e-7, which the iteration would blow up like any small one: this lifts them.
SHIFT = 1e-6

# Eight steps take the square root of the shift, 1e-3, to 1 within 1e-9; the schedule was made for that lower bound.
ROWS = np.asarray(POLAR_EXPRESS_PAPER_2025.rows)


def root(a: Float[Array, "*batch m m"], halvings: int) -> Float[Array, "*batch m m"]:
    """Take ``halvings`` square roots of a positive semi-definite matrix, in float32 or wider.

    It is Newton-Schulz for the sign of ``[[0, A], [I, 0]]``, as a coupled iteration of a root and an inverse root.
    A root is that of ``A + SHIFT * norm(A) I``.
    """
    identity = jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    rows = jnp.asarray(ROWS, jnp.real(a).dtype)

    def step(pair, row):
        """Apply one row to the pair (root, inverse root), both ``(*batch, m, m)``."""
        y, z = pair
        product = FLOAT32.matmul(z, y)
        factor = row[1] * product + row[2] * FLOAT32.matmul(product, product) + row[0] * identity
        return (FLOAT32.matmul(y, factor), FLOAT32.matmul(factor, z)), None

    for _ in range(halvings):
        norm = length(a)
        scaled = a / jnp.where(norm == 0, 1, norm) + SHIFT * identity
        (y, _), _ = jax.lax.scan(step, (scaled, identity), rows)
        # Symmetrised, or rounding would grow with every nested root.
        a = square_root(norm) * (y + jnp.conj(y.mT)) / 2
    return a


def root_scalar(s: Float[Array, "*batch r"], halvings: int) -> Float[Array, "*batch r"]:
    """Say what `root` does to the eigenvalues."""
    for _ in range(halvings):
        norm = length(s, -1)
        scaled = s / jnp.where(norm == 0, 1, norm) + SHIFT
        sign = jnp.sqrt(scaled)
        for row in ROWS:
            sign = sign * jnp.polyval(jnp.asarray(row[::-1], s.dtype), sign * sign)
        # The coupled iteration is the schedule on sqrt(scaled): the root is sqrt(scaled) times what that becomes.
        s = square_root(norm * scaled) * sign
    return s
