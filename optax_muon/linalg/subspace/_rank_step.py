"""One step on the manifold of matrices of one rank, in the coordinates of two orthonormal bases.

Everything here is as small as twice the rank; `transforms.step_at_fixed_rank` has the factors.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32
from optax_muon.linalg._decompositions import eigenvectors, svd
from optax_muon.linalg._scale import square_root
from optax_muon.linalg.orthogonal._exact import SVDPolar
from optax_muon.linalg.subspace._whitening import along


def split_off(
    gram: Float[Array, "*batch r r"], norm: Float[Array, "*batch 1 1"], among: Float[Array, "*batch 1 1"]
) -> tuple[Float[Array, "*batch r r"], Float[Array, "*batch r r"]]:
    """Give the root S of ``norm^2 gram``, and the inverse of S where it is more than rounding beside ``among``.

    A factor X with this Gram matrix is ``(X S^-1) S``, the first with orthonormal columns.
    """
    q = eigenvectors(gram)
    noise = (gram.shape[-1] * jnp.finfo(gram.dtype).eps) ** 0.5
    size = square_root(jnp.maximum(along(q, gram), 0)) * norm[..., 0]
    kept = size > noise * among[..., 0]
    size, inverse = jnp.where(kept, size, 0), jnp.where(kept, 1 / jnp.where(kept, size, 1), 0)
    return FLOAT32.matmul(q * size[..., None, :], q.mT), FLOAT32.matmul(q * inverse[..., None, :], q.mT)


class RankStep(NamedTuple):
    """Coefficients of the new factors and of the momentum at the new point.

    With bases [Q, L] of columns and [R, P] of rows, the first new factor is ``Q a + L b``, the second ``c R + d P``.

    Attributes:
        first: a and b.
        second: c and d.
        momentum_first: of the part of the momentum that leads out of the new columns, likewise.
        momentum_second: of the part within them.
    """

    first: tuple[Array, Array]
    second: tuple[Array, Array]
    momentum_first: tuple[Array, Array]
    momentum_second: tuple[Array, Array]


def rank_step(
    core: tuple[Array, Array, Array],
    roots: tuple[Array, Array],
    learning_rate: Any,
    kept: Any,
    *,
    direction: bool,
) -> RankStep:
    """Orthogonalise a tangent vector, step against it, go back to the rank, and carry the momentum along.

    Args:
        core: S, C and T of the tangent vector ``Q S R + L C R + L T P``.
        roots: the two factors of the present point ``L A B R``.
        learning_rate: how far.
        kept: the share of the present point that decay leaves.
        direction: whether the momentum is what was stepped along, instead of the vector itself.
    """
    rank = roots[0].shape[-1]
    momentum = _blocks(core[0], core[1], core[2])
    along_it = SVDPolar().apply(momentum)
    # What leads out of both the columns and the rows leads off the manifold.
    along_it = _blocks(along_it[..., :rank, :rank], along_it[..., rank:, :rank], along_it[..., rank:, rank:])
    point = FLOAT32.matmul(*roots)
    zero = jnp.zeros_like(point)
    u, s, vh = svd(_blocks(zero, kept * point, zero) - learning_rate * along_it)
    u, s, vh = u[..., :rank], square_root(s[..., :rank]), vh[..., :rank, :]
    # Of all factors of the new point those nearest to the present ones: a decomposition's own turns are arbitrary.
    near = FLOAT32.matmul(u[..., rank:, :].mT, roots[0]) + FLOAT32.matmul(vh[..., :rank], roots[1].mT)
    left, _, right = svd(s[..., :, None] * near)
    turn = FLOAT32.matmul(left, right)
    u, vh = FLOAT32.matmul(u, turn), FLOAT32.matmul(turn.mT, vh)
    size = FLOAT32.matmul(turn.mT * s[..., None, :], turn)
    carried = along_it if direction else momentum
    out = FLOAT32.matmul(carried, vh.mT)
    out = out - FLOAT32.matmul(u, FLOAT32.matmul(u.mT, out))
    columns, rows = FLOAT32.matmul(u, size), FLOAT32.matmul(size, vh)
    within = FLOAT32.matmul(u.mT, carried)
    halves = [(x[..., :rank, :], x[..., rank:, :]) for x in (columns, out)]
    sides = [(x[..., :rank], x[..., rank:]) for x in (rows, within)]
    return RankStep(halves[0], sides[0], halves[1], sides[1])


def _blocks(a: Array, c: Array, d: Array) -> Array:
    """Join blocks ``[[a, 0], [c, d]]``."""
    top = jnp.concatenate([a, jnp.zeros_like(a)], axis=-1)
    return jnp.concatenate([top, jnp.concatenate([c, d], axis=-1)], axis=-2)
