"""Decompositions whose derivatives are finite where eigenvalues or singular values are equal, or zero.

The usual ones divide by the differences of the values, and are NaN for a matrix of zeros or with two dead rows. Here
a direction within a space of equal values counts as fixed: what such a space is used for does not depend on it, or has
no derivative there.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32
from optax_muon.linalg._scale import one_if_zero


@jax.custom_jvp
def svd(x: Float[Array, "*batch m n"]) -> tuple[Array, Array, Array]:
    """Return the thin decomposition U ``(*batch, m, r)``, S ``(*batch, r)`` and V^H ``(*batch, r, n)``."""
    u, s, vh = jnp.linalg.svd(x, full_matrices=False)
    return u, s, vh


@svd.defjvp
def _svd_jvp(primals: Any, tangents: Any) -> Any:
    """Differentiate: P = U^H dX V is what the change looks like from within.

    With A = U^H dU and B = V^H dV, both anti-Hermitian, P = A S + dS - S B gives A and B off the diagonal.
    """
    (x,), (dx,) = primals, tangents
    u, s, vh = svd(x)
    v, across = _adjoint(vh), FLOAT32.matmul(dx, _adjoint(vh))
    p = FLOAT32.matmul(_adjoint(u), across)
    rows, columns = s[..., :, None], s[..., None, :]
    # S^2 is what separates the directions on both sides.
    gaps = _reciprocal((columns - rows) * (columns + rows), jnp.max(s, axis=-1)[..., None, None] ** 2)
    a = gaps * (p * columns + rows * _adjoint(p))
    b = gaps * (rows * p + _adjoint(p) * columns)
    inverse = _reciprocal(s, jnp.max(s, axis=-1, keepdims=True))
    if jnp.iscomplexobj(x):
        # The phases of a pair of vectors: each side turns by half of what P asks for.
        turn = 0.5j * jnp.imag(jnp.diagonal(p, axis1=-2, axis2=-1)) * inverse
        eye = jnp.eye(s.shape[-1], dtype=x.dtype)
        a, b = a + turn[..., None] * eye, b - turn[..., None] * eye
    du, dv = FLOAT32.matmul(u, a), FLOAT32.matmul(v, b)
    if x.shape[-2] > s.shape[-1]:
        du = du + (across - FLOAT32.matmul(u, p)) * inverse[..., None, :]
    if x.shape[-1] > s.shape[-1]:
        back = FLOAT32.matmul(_adjoint(dx), u)
        dv = dv + (back - FLOAT32.matmul(v, _adjoint(p))) * inverse[..., None, :]
    ds = jnp.real(jnp.diagonal(p, axis1=-2, axis2=-1))
    return (u, s, vh), (du, ds, _adjoint(dv))


@jax.custom_jvp
def eigenvectors(a: Float[Array, "*batch m m"]) -> Float[Array, "*batch m m"]:
    """Return the eigenvectors of symmetric or Hermitian matrices in columns, smallest eigenvalue first."""
    return jnp.linalg.eigh(a)[1]


@eigenvectors.defjvp
def _eigenvectors_jvp(primals: Any, tangents: Any) -> Any:
    """Differentiate: V^H dV is V^H dA V over the differences of the eigenvalues."""
    (a,), (da,) = primals, tangents
    values, v = jnp.linalg.eigh(a)
    seen = FLOAT32.matmul(_adjoint(v), FLOAT32.matmul((da + _adjoint(da)) / 2, v))
    largest = jnp.max(jnp.abs(values), axis=-1)[..., None, None]
    gaps = _reciprocal(values[..., None, :] - values[..., :, None], largest)
    return v, FLOAT32.matmul(v, gaps * seen)


@jax.custom_jvp
def orthonormal(x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
    """Return orthonormal columns that span those of ``x``, m >= n: Q of a QR decomposition."""
    return jnp.linalg.qr(x)[0]


@orthonormal.defjvp
def _orthonormal_jvp(primals: Any, tangents: Any) -> Any:
    """Differentiate: dX R^-1 = dQ + Q dR R^-1, the last factor upper triangular, Q^H dQ anti-Hermitian."""
    (x,), (dx,) = primals, tangents
    q, r = jnp.linalg.qr(x)
    diagonal = jnp.abs(jnp.diagonal(r, axis1=-2, axis2=-1))
    largest = one_if_zero(jnp.max(diagonal, axis=-1, keepdims=True))
    # A column that brings nothing new has a direction of no meaning: a number in place of its zero.
    lost = jnp.where(diagonal <= jnp.finfo(r.dtype).eps * largest, largest, 0)
    r = r + lost[..., None] * jnp.eye(r.shape[-1], dtype=r.dtype)
    solved = jax.lax.linalg.triangular_solve(r, dx, left_side=False, lower=False)
    seen = FLOAT32.matmul(_adjoint(q), solved)
    below = jnp.tril(seen, -1)
    turn = below - _adjoint(below)
    if jnp.iscomplexobj(x):
        turn = turn + 1j * jnp.imag(jnp.diagonal(seen, axis1=-2, axis2=-1))[..., None] * jnp.eye(r.shape[-1])
    return q, solved + FLOAT32.matmul(q, turn - seen)


def _adjoint(x: Array) -> Array:
    """Conjugate transpose of every matrix."""
    return jnp.conj(x.mT)


def _reciprocal(x: Array, largest: Array) -> Array:
    """Return ``1 / x``, and zero where ``x`` is nothing beside ``largest``."""
    nothing = jnp.abs(x) <= jnp.finfo(x.dtype).eps * largest
    return jnp.where(nothing, 0, 1 / jnp.where(nothing, 1, x))
