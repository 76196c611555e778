"""Powers of what two vectors of a factor have in common, whose least values are raised to a floor."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32
from optax_muon.linalg._decompositions import eigenvectors
from optax_muon.linalg._scale import square_root
from optax_muon.linalg.subspace._whitening import along


def gram_power(
    gram: Float[Array, "*batch r r"], norm: Float[Array, "*batch 1 1"], power: Number, floor: Number
) -> Float[Array, "*batch r r"]:
    """Return ``(norm^2 gram)^power``, with eigenvalues of at least ``floor``.

    Args:
        gram: of unit trace, or zero.
        norm: the factor's, whose square may be out of range.
        power: of the Gram matrix.
        floor: the least eigenvalue of ``norm^2 gram``.
    """
    q = eigenvectors(gram)
    # Below it an eigenvalue is the rounding of the others, and may be negative.
    noise = gram.shape[-1] * jnp.finfo(gram.dtype).eps
    values = jnp.maximum(along(q, gram), noise)
    size = jnp.maximum(square_root(values) * norm[..., 0], jnp.asarray(floor, gram.dtype) ** 0.5)
    return FLOAT32.matmul(q * (size ** (2 * power))[..., None, :], q.mT)


def gram_norm(gram: Float[Array, "*batch r r"], norm: Float[Array, "*batch 1 1"]) -> Float[Array, "*batch 1 1"]:
    """Return the spectral norm of a factor: the root of the largest eigenvalue of ``norm^2 gram``."""
    largest = jnp.max(along(eigenvectors(gram), gram), axis=-1)[..., None, None]
    return square_root(jnp.maximum(largest, 0)) * norm
