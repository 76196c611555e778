"""Orthogonalisation and decomposition in a random subspace."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, summable
from optax_muon.linalg._decompositions import orthonormal, svd
from optax_muon.linalg._inputs import require_inexact, require_rank
from optax_muon.linalg._map import Info, MatrixOp, SpectralMap
from optax_muon.linalg._scale import divide_by_largest_entry
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz
from optax_muon.linalg.subspace._sketch import GaussianSketch, Sketch


@dataclasses.dataclass(frozen=True)
class RandomizedPolar(MatrixOp):
    r"""Orthogonalise the part of a matrix that a random subspace sees.

    Use it on large matrices whose spectrum decays: the iteration runs on ``rank + oversample`` instead of
    ``min(m, n)`` rows, and directions of noise are left out instead of blown up.

    .. math::
        Y = (M M^T)^h M \Omega, \qquad Q = \operatorname{qr}(Y), \qquad O = Q \operatorname{orth}(Q^T M)

    It is the polar factor of :math:`Q Q^T M`: ``rank + oversample`` singular values are 1, the rest 0, and
    ``<M, O>`` is the nuclear norm of the part that is seen.

    Args:
        rank: number of directions that are wanted; more than min(m, n) is an error.
        oversample: directions beyond that, which make the wanted ones reliable; as many as fit are used.
        power_steps: h, multiplications by ``M M^T`` that turn the subspace towards the large singular values.
        sketch: how the columns :math:`M \Omega` are drawn; the shorter side is always the one that is sketched.
        orthogonalizer: of the small factor.

    Raises:
        ValueError: for numbers out of range; from ``apply``, for a rank above the shorter side, or a key that is
            missing or of the wrong shape.

    Cost: ``4 k m n (1 + h)`` FLOPs for k directions, three QR and the orthogonaliser on (k, n).

    Differs from the authors' code: a QR between power steps, which keeps the same subspace and cannot overflow; a tall
    matrix is transposed before its columns are selected, so that all of them can be.

    References:
        He, Deng, Lu, arXiv 2509.11983 (``sketch=ColumnSketch()``, no oversampling, no power step); Choudhury et al.,
        arXiv 2605.06884.
    """

    needs_key: ClassVar[bool] = True

    rank: int
    oversample: int = 10
    power_steps: int = 1
    sketch: Sketch = GaussianSketch()
    orthogonalizer: SpectralMap = NewtonSchulz()

    def __post_init__(self):
        """Raise on numbers that make no subspace."""
        _check("RandomizedPolar", self.rank, self.oversample, self.power_steps)

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Keep nothing between steps."""
        del shape, dtype
        return ()

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Orthogonalise every matrix within its own random subspace; `Info.dual` is ``<x, y>``."""
        self.check_others(x, others)
        require_inexact(x, "RandomizedPolar")
        require_rank("RandomizedPolar", self.rank, x)
        if 0 in x.shape:
            return x, carry, Info(jnp.zeros(x.shape[:-2], accumulator_dtype(jnp.real(x).dtype)))
        tall = x.shape[-2] > x.shape[-1]
        wide = (x.mT if tall else x).astype(accumulator_dtype(x.dtype))
        # Oversampling beyond the matrix is dropped, not an error: one setting has to serve every shape of a model.
        size = min(self.rank + self.oversample, wide.shape[-2])

        def subspace(x, key):
            """Return the basis (m, size) for one matrix, at its own scale."""
            return find_range(divide_by_largest_entry(x), size, self.power_steps, self.sketch, key)

        q = per_key("RandomizedPolar", subspace, wide, key)
        seen = FLOAT32.matmul(jnp.conj(q.mT), summable(wide))
        # orth(Q^T M) and then Q: the iteration runs on size rows.
        y = FLOAT32.matmul(q, self.orthogonalizer.apply(seen))
        dual = jnp.sum(jnp.real(jnp.conj(wide) * y), axis=(-2, -1))
        return (y.mT if tall else y).astype(x.dtype), carry, Info(dual)


@dataclasses.dataclass(frozen=True)
class RandomizedSVD:
    """The largest singular values and their vectors, from a random subspace.

    Use it where a few top singular values of a large matrix are wanted, as in `SketchedThresholdClip`.

    Args:
        rank: how many are given; more than min(m, n) is an error.
        oversample: directions beyond that, dropped in the end; as many as fit are used.
        power_steps: multiplications by ``M M^T``.
        sketch: how the subspace is drawn.

    Raises:
        ValueError: for numbers out of range; from ``apply``, for a rank above the shorter side, or a key that is
            missing or of the wrong shape.

    References:
        Halko, Martinsson, Tropp (2011); the numbers are those of arXiv 2605.11838.
    """

    rank: int = 5
    oversample: int = 5
    power_steps: int = 1
    sketch: Sketch = GaussianSketch()

    def __post_init__(self):
        """Raise on numbers that make no subspace."""
        _check("RandomizedSVD", self.rank, self.oversample, self.power_steps)

    def apply(self, x: Float[Array, "*batch m n"], key: Array | None) -> tuple[Array, Array, Array]:
        """Return U (m, rank), S (rank,) and V^H (rank, n) of every matrix, in float32 or wider."""
        require_rank("RandomizedSVD", self.rank, x)
        tall = x.shape[-2] > x.shape[-1]
        size = min(self.rank + self.oversample, min(x.shape[-2:]))

        def one(x, key):
            """Decompose one matrix with m <= n."""
            largest = jnp.max(jnp.abs(x))
            x = divide_by_largest_entry(x)
            q = find_range(x, size, self.power_steps, self.sketch, key)
            u, s, vh = svd(FLOAT32.matmul(jnp.conj(q.mT), x))
            return FLOAT32.matmul(q, u)[:, : self.rank], s[: self.rank] * largest, vh[: self.rank]

        wide = (x.mT if tall else x).astype(accumulator_dtype(x.dtype))
        u, s, vh = per_key("RandomizedSVD", one, wide, key)
        # M^T = U S V^H means M = (V^H)^T S U^T: plain transposes, for complex matrices too.
        return (vh.mT, s, u.mT) if tall else (u, s, vh)


def find_range(x: Float[Array, "m n"], size: int, power_steps: int, sketch: Sketch, key: Array) -> Array:
    """Return an orthonormal basis (m, size) of a subspace near the range of the large singular values."""
    q = orthonormal(sketch.apply(x, size, key))
    for _ in range(power_steps):
        # Orthonormal again on both sides: powers of the spectrum would leave float32's range and the small values.
        rows = orthonormal(FLOAT32.matmul(jnp.conj(x.mT), q))
        q = orthonormal(FLOAT32.matmul(x, rows))
    return q


def per_key(owner: str, f: Callable[[Array, Array], Any], x: Array, key: Array | None) -> Any:
    """Map ``f(matrix, key)`` over a stack ``(*batch, m, n)`` and keys ``(*batch,)``; raise where those are missing."""
    if key is None:
        raise ValueError(f"{owner}: key is missing; it takes one random key per matrix, of shape {x.shape[:-2]}")
    if key.shape != x.shape[:-2]:
        raise ValueError(f"{owner}: key must have shape {x.shape[:-2]}, one per matrix, not {key.shape}")
    # A matrix at a time under vmap, so that its draws depend on its own key and not on its place in a stack.
    for _ in range(x.ndim - 2):
        f = jax.vmap(f)
    return f(x, key)


def _check(owner: str, rank: int, oversample: int, power_steps: int) -> None:
    """Raise on a rank below 1, or a negative number of further directions or of power steps."""
    if rank < 1:
        raise ValueError(f"{owner}: rank must be >= 1, not {rank}")
    if oversample < 0:
        raise ValueError(f"{owner}: oversample must be >= 0, not {oversample}")
    if power_steps < 0:
        raise ValueError(f"{owner}: power_steps must be >= 0, not {power_steps}")
