"""Powers of what two vectors of a factor have in common, without the directions in which it has nothing."""

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
    """Return ``(norm^2 gram)^power``; a negative power fades to zero where the factor has nothing.

    A factor of lower rank has directions that nothing can be divided by. What is multiplied has only rounding and the
    past of a momentum there, and a large power would make a step of it.

    Args:
        gram: of unit trace, or zero.
        norm: the factor's, whose square may be out of range.
        power: of the Gram matrix.
        floor: the eigenvalue of ``norm^2 gram`` below which a negative power fades, in proportion to the eigenvalue.
    """
    q, norm = eigenvectors(gram), norm[..., 0]
    # Below it an eigenvalue is mostly the rounding of the others, and may be negative.
    noise = 16 * gram.shape[-1] * jnp.finfo(gram.dtype).eps
    size = square_root(jnp.maximum(along(q, gram), 0)) * norm
    bottom = jnp.maximum(noise**0.5 * norm, jnp.asarray(floor, gram.dtype) ** 0.5)
    bottom = jnp.where(bottom == 0, 1, bottom)
    falling = jnp.asarray(power) < 0
    share = jnp.where(falling & (size < bottom), (size / bottom) ** 2, 1)
    size = jnp.where(falling, jnp.maximum(size, bottom), size)
    return FLOAT32.matmul(q * (share * size ** (2 * power))[..., None, :], q.mT)


def gram_norm(gram: Float[Array, "*batch r r"], norm: Float[Array, "*batch 1 1"]) -> Float[Array, "*batch 1 1"]:
    """Return the spectral norm of a factor: the root of the largest eigenvalue of ``norm^2 gram``."""
    largest = jnp.max(along(eigenvectors(gram), gram), axis=-1)[..., None, None]
    return square_root(jnp.maximum(largest, 0)) * norm
