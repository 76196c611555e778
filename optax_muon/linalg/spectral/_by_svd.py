"""Functions of the singular values, carried out by decomposition."""

import abc
import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._decompositions import svd
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import divide_by_largest_entry


class ExactMap(SpectralMap):
    """A map that is its scalar function, evaluated by singular value decomposition.

    Low-precision input is decomposed in float32. A matrix with a NaN or an Inf comes out as NaN and leaves the others
    of its stack alone.

    Raises:
        ValueError: from ``apply``, for an array that is no stack of matrices.
        TypeError: from ``apply``, for integer matrices.
    """

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Map every matrix; the result has the dtype of ``x``."""
        require_inexact(x, type(self).__name__)
        if 0 in x.shape:
            return x
        u, s, vh = decompose(x)
        return recompose(u, self.scalar(s), vh).astype(x.dtype)


@dataclasses.dataclass(frozen=True)
class BySVD(ExactMap):
    """Evaluate any spectral map's scalar function by decomposition instead of its own products.

    Use it as the reference for a polynomial map, or where the matrices are small and accuracy matters more than time:
    ``BySVD(HighPass(2))`` is the filter of `HighPass` without rounding between its steps.

    Args:
        map: the map whose ``scalar`` is applied to the singular values.
    """

    map: SpectralMap

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Apply the scalar function of ``map``."""
        return self.map.scalar(s)


class TwoWayMap(ExactMap):
    """A map that is evaluated by decomposition, or with an orthogonaliser by products alone.

    Attributes:
        orthogonalizer: None decomposes.
    """

    orthogonalizer: SpectralMap | None

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the orthogonaliser lets it."""
        return self.orthogonalizer is None or self.orthogonalizer.commutes_with_transpose

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """By decomposition alone: an identity block would change the norm that an iteration starts from."""
        return self.orthogonalizer is None

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Map every matrix; the result has the dtype of ``x``."""
        if self.orthogonalizer is None or 0 in x.shape:
            return super().apply(x)
        require_inexact(x, type(self).__name__)
        # The identities multiply from the left, where the smaller Gram matrix is.
        tall = x.shape[-2] > x.shape[-1]
        wide = (x.mT if tall else x).astype(accumulator_dtype(x.dtype))
        y = self.by_products(self.orthogonalizer, wide).astype(x.dtype)
        return y.mT if tall else y

    @abc.abstractmethod
    def by_products(self, orthogonalizer: SpectralMap, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Evaluate with an orthogonaliser, m <= n, in float32 or wider."""


def decompose(x: Float[Array, "*batch m n"]) -> tuple[Array, Array, Array]:
    """Return the thin singular value decomposition of every matrix, in float32 or wider, whatever its scale."""
    # Decomposed at size 1 and scaled back, so that no backend's own handling of 1e30 or 1e-30 matters.
    largest = jnp.max(jnp.abs(x.astype(accumulator_dtype(x.dtype))), axis=(-2, -1))
    u, s, vh = svd(divide_by_largest_entry(x))
    # A matrix at the end of the range has singular values beyond it.
    return u, jnp.minimum(s * largest[..., None], jnp.finfo(s.dtype).max), vh


def recompose(u: Array, s: Array, vh: Array) -> Array:
    """Multiply ``U diag(s) V^H``: ``(*batch, m, r)``, ``(*batch, r)`` and ``(*batch, r, n)`` to ``(*batch, m, n)``."""
    # HIGHEST: the default is one bfloat16 pass on a TPU, which would undo the point of a decomposition.
    return jnp.matmul(u * s[..., None, :], vh, precision="highest")


def numerical_rank(s: Float[Array, "*batch r"]) -> Array:
    """Tell which singular values are more than rounding; NaN counts as one, so that it is not lost."""
    return ~(s <= _cutoff(s))


def faded(s: Float[Array, "*batch r"]) -> tuple[Array, Array]:
    """Return weights of singular values, 0 up to the numerical rank and 1 from sixteen times that on, and the values.

    Those of a weight below 1 are raised to where it is 1. For functions that grow as a singular value falls: one that
    rounding may put on either side of a cut would be all or nothing.
    """
    low = _cutoff(s)
    # Squared, so that it begins without a slope, where rounding is as large as the value.
    weight = jnp.square(jnp.clip((s - low) / (15 * jnp.where(low == 0, 1, low)), 0, 1))
    return weight, jnp.maximum(s, 16 * low)


def _cutoff(s: Array) -> Array:
    """Size of what a decomposition makes of zeros."""
    # 16: the noise of a decomposition does not shrink with the number of singular values below that.
    return max(16, s.shape[-1]) * jnp.finfo(s.dtype).eps * jnp.max(s, axis=-1, keepdims=True)


def by_size(s: Float[Array, "*batch r"]) -> Array:
    """Number the singular values from the largest, 0, on; equal ones in the order given."""
    # A rank, not a comparison with the maximum: of equal singular values exactly one is the largest.
    return jnp.argsort(jnp.argsort(-s, axis=-1), axis=-1)
