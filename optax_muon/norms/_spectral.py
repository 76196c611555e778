"""Norms of the singular values: spectral, nuclear, Ky Fan and its dual."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array

from optax_muon._numbers import require_whole
from optax_muon.linalg import SpectralMap, best
from optax_muon.linalg._decompositions import svd
from optax_muon.linalg._scale import largest_entry, one_if_zero, quotient
from optax_muon.norms._norm import Norm

# Made once on import: NumPy alone, no JAX backend starts.
DEFAULT_ORTHOGONALIZER: SpectralMap = best()
"""The oracle of every norm that orthogonalises, unless it is given another."""


@dataclasses.dataclass(frozen=True)
class Spectral(Norm):
    """The largest singular value; the dual is the nuclear norm and the oracle orthogonalises (Muon).

    Use it for hidden matrices; `Linear` is the same with a factor of the shape. ``value`` and ``dual`` are exact and
    cost a singular value decomposition; inside an optimizer the transforms use ``<x, lmo(x)>`` instead, one product.

    Args:
        orthogonalizer: the oracle, a map of `optax_muon.linalg`. An approximate one leaves the ball by as much as its
            largest image exceeds 1.

    References:
        Bernstein and Newhouse, Old Optimizer, New Norm, arXiv 2409.20325.
    """

    orthogonalizer: SpectralMap = DEFAULT_ORTHOGONALIZER

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the orthogonaliser does."""
        return self.orthogonalizer.commutes_with_transpose

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the orthogonaliser does."""
        return self.orthogonalizer.commutes_with_padding

    def _value(self, x: Array) -> Array:
        """Largest singular value, ``(*batch,)``."""
        return jnp.max(singular_values(x), axis=-1)

    def _dual(self, x: Array) -> Array:
        """Nuclear norm, ``(*batch,)``."""
        return jnp.sum(singular_values(x), axis=-1)

    def _direction(self, x: Array) -> Array:
        """The orthogonaliser's image, ``(*batch, m, n)``."""
        return self.orthogonalizer.apply(x)


@dataclasses.dataclass(frozen=True)
class Nuclear(Norm):
    """The sum of singular values; the dual is the largest, and the oracle is the top singular pair ``u v^T``.

    Use it for steps of rank one, the cheapest to communicate. Where the largest singular value is repeated, the
    decomposition's first pair is taken.
    """

    commutes_with_transpose = True
    commutes_with_padding = True

    def _value(self, x: Array) -> Array:
        """Sum of the singular values, ``(*batch,)``."""
        return jnp.sum(singular_values(x), axis=-1)

    def _dual(self, x: Array) -> Array:
        """Largest singular value, ``(*batch,)``."""
        return jnp.max(singular_values(x), axis=-1)

    def _direction(self, x: Array) -> Array:
        """Outer product of the top singular pair, ``(*batch, m, n)``."""
        return _on_top(x, 1)


@dataclasses.dataclass(frozen=True)
class _LargestK(Norm):
    """A norm that tells the ``k`` largest singular values from the rest."""

    commutes_with_transpose = True
    commutes_with_padding = True

    k: int

    def __post_init__(self):
        """Raise on a count below one."""
        require_whole(f"{type(self).__name__}: k", self.k)

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise on matrices with fewer than k singular values."""
        if 0 not in shape and self.k > min(shape[-2:]):
            raise ValueError(
                f"{type(self).__name__}: k = {self.k} exceeds the {min(shape[-2:])} singular values of {shape[-2:]}"
            )


@dataclasses.dataclass(frozen=True)
class KyFan(_LargestK):
    """The sum of the ``k`` largest singular values: the spectral norm at 1, the nuclear one at full rank.

    Use it between a step of rank one and a full polar factor, whichever descends more. The dual is
    ``max(s_1, sum(s) / k)``; the oracle is the top singular pair or the polar factor over ``k``, whichever goes
    further.

    Args:
        k: how many; more than a matrix has is an error when its shape is seen.

    Raises:
        ValueError: for k that is no whole number of at least 1, or more than the singular values of a shape.
    """

    def _value(self, x: Array) -> Array:
        """Sum of the k largest singular values, ``(*batch,)``."""
        return _sum_of_largest(singular_values(x), self.k)

    def _dual(self, x: Array) -> Array:
        """``max(s_1, sum(s) / k)``, ``(*batch,)``."""
        return _spread(singular_values(x), self.k)

    def _direction(self, x: Array) -> Array:
        """Top pair, or polar factor over k, whichever pairs better with ``x``."""
        u, s, vh = svd(_unit_scale(x)[0])
        # Vertices of the unit ball are of two kinds: one pair of size 1, and all pairs of size 1 / k.
        concentrated = s[..., :1] * self.k >= jnp.sum(s, axis=-1, keepdims=True)
        return _recompose(u, s, vh, jnp.where(concentrated, jnp.arange(s.shape[-1]) < 1, 1 / self.k))


@dataclasses.dataclass(frozen=True)
class DualKyFan(_LargestK):
    """The dual of `KyFan`, ``max(s_1, sum(s) / k)``; its oracle is the polar factor of the top ``k`` singular pairs.

    Use it for steps of rank k that treat the leading directions alike. The norm is between the spectral
    norm (k at full rank) and the nuclear one (k = 1).

    Args:
        k: how many; more than a matrix has is an error when its shape is seen.

    Raises:
        ValueError: for k that is no whole number of at least 1, or more than the singular values of a shape.
    """

    def _value(self, x: Array) -> Array:
        """``max(s_1, sum(s) / k)``, ``(*batch,)``."""
        return _spread(singular_values(x), self.k)

    def _dual(self, x: Array) -> Array:
        """Sum of the k largest singular values, ``(*batch,)``."""
        return _sum_of_largest(singular_values(x), self.k)

    def _direction(self, x: Array) -> Array:
        """Polar factor of the k top pairs, ``(*batch, m, n)``."""
        return _on_top(x, self.k)


def singular_values(x: Array) -> Array:
    """Return singular values in falling order, shape (*batch, r)."""
    scaled, scale = _unit_scale(x)
    return scale[..., 0] * jnp.linalg.svd(scaled, compute_uv=False)


def _sum_of_largest(s: Array, k: int) -> Array:
    """Sum of the first k of descending singular values (*batch, r)."""
    return jnp.sum(s[..., :k], axis=-1)


def _spread(s: Array, k: int) -> Array:
    """Dual of `_sum_of_largest` on descending singular values: the largest, or the sum over k."""
    return jnp.maximum(s[..., 0], jnp.sum(s, axis=-1) / k)


def _on_top(x: Array, k: int) -> Array:
    """Return the polar factor of the k top singular pairs."""
    u, s, vh = svd(_unit_scale(x)[0])
    return _recompose(u[..., :k], s[..., :k], vh[..., :k, :], jnp.ones_like(s[..., :k]))


def _recompose(u: Array, s: Array, vh: Array, weights: Array) -> Array:
    """Put singular pairs together with new values, none on the numerical null space."""
    # The customary tolerance of a numerical rank, as in `linalg.SVDPolar`.
    longest = max(u.shape[-2], vh.shape[-1])
    cutoff = longest * jnp.finfo(s.dtype).eps * s[..., :1]
    # NaN must stay NaN: a comparison alone would turn a broken matrix into a silent zero.
    weights = jnp.where(jnp.isnan(s), s, jnp.where(s > cutoff, weights, 0).astype(s.dtype))
    return jnp.matmul(u * weights[..., None, :], vh, precision="highest")


def _unit_scale(x: Array) -> tuple[Array, Array]:
    """Bring the largest entry of every matrix to 1, and say by what; NaN and Inf give NaN."""
    scale = one_if_zero(largest_entry(x))
    return quotient(x, scale), scale
