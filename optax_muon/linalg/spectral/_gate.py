"""Maps that apply to some matrices of a stack and leave the others as they are."""

import abc
import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import divide_by_largest_entry, length
from optax_muon.linalg.orthogonal._exact import SVDPolar


class Gate(abc.ABC):
    """A yes or no for every matrix of a stack; a matrix with a NaN gets a no."""

    @abc.abstractmethod
    def opens(self, x: Float[Array, "*batch m n"]) -> Bool[Array, "*batch"]:
        """Decide on matrices."""

    @abc.abstractmethod
    def opens_scalar(self, s: Float[Array, "*batch r"]) -> Bool[Array, "*batch"]:
        """Decide on their singular values."""


@dataclasses.dataclass(frozen=True)
class SpectralGap(Gate):
    """Open where all nonzero singular values are at least ``threshold`` apart.

    Use it in `Gated` where only well-separated singular directions are to be trusted. A matrix with fewer than two of
    them has no gap, and opens. Those below the rounding of a decomposition are zero.

    Args:
        threshold: in units of the matrix; a number or a traced scalar.

    Cost: a singular value decomposition without vectors.

    References:
        Huang et al., MiMuon, arXiv 2605.19619.
    """

    threshold: Number

    def opens(self, x: Float[Array, "*batch m n"]) -> Bool[Array, "*batch"]:
        """Decide on matrices."""
        if 0 in x.shape:
            return jnp.ones(x.shape[:-2], bool)
        largest = jnp.max(jnp.abs(x.astype(accumulator_dtype(x.dtype))), axis=(-2, -1))
        s = jnp.linalg.svd(divide_by_largest_entry(x), compute_uv=False)
        return self._far_apart(s * largest[..., None], max(x.shape[-2:]))

    def opens_scalar(self, s: Float[Array, "*batch r"]) -> Bool[Array, "*batch"]:
        """Decide on their singular values."""
        return self._far_apart(-jnp.sort(-s, axis=-1), s.shape[-1])

    def _far_apart(self, s: Array, longest: int) -> Array:
        """Decide on descending singular values."""
        cutoff = longest * jnp.finfo(s.dtype).eps * s[..., :1]
        # A zero below it does not count as a neighbour: the gap to it is taken as infinite.
        gaps = jnp.where(s[..., 1:] <= cutoff, jnp.inf, s[..., :-1] - s[..., 1:])
        # NaN fails every comparison, so a broken matrix is left as it is, where its NaN shows.
        return jnp.min(gaps, axis=-1, initial=jnp.inf) >= self.threshold


@dataclasses.dataclass(frozen=True)
class LargeEnough(Gate):
    """Open where the Frobenius norm is at least ``threshold``.

    Use it in `Gated` where small gradients are to pass unnormalised.

    Args:
        threshold: in units of the matrix.

    References:
        Huang et al., MiMuon, arXiv 2605.19619.
    """

    threshold: Number

    def opens(self, x: Float[Array, "*batch m n"]) -> Bool[Array, "*batch"]:
        """Decide on matrices."""
        return length(x.astype(accumulator_dtype(x.dtype)))[..., 0, 0] >= self.threshold

    def opens_scalar(self, s: Float[Array, "*batch r"]) -> Bool[Array, "*batch"]:
        """Decide on their singular values."""
        return length(s, -1)[..., 0] >= self.threshold


@dataclasses.dataclass(frozen=True)
class Gated(SpectralMap):
    """Apply a map where a gate opens, and leave the other matrices as they are.

    Use it to orthogonalise some matrices and leave others as they are, decided anew at every step.

    Args:
        gate: decides for every matrix on its own.
        map: what is applied.

    References:
        Huang et al., MiMuon, arXiv 2605.19619.
    """

    gate: Gate
    map: SpectralMap = SVDPolar()

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Map every matrix; the result has the dtype of ``x``."""
        require_inexact(x, "Gated")
        # Both branches are computed: the gate is per matrix of a stack, which no `cond` can skip.
        return jnp.where(self.gate.opens(x)[..., None, None], self.map.apply(x), x)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Map the spectra for which the gate opens."""
        return jnp.where(self.gate.opens_scalar(s)[..., None], self.map.scalar(s), s)
