"""Weights brought to a spectral norm."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_positive, require_whole
from optax_muon._types import Number
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg._scale import divide_by_largest_entry, one_if_zero, quotient
from optax_muon.linalg.constrained._leading_pair import leading_pair


@dataclasses.dataclass(frozen=True)
class OnSphere(SpectralMap):
    r"""Scale a matrix to a spectral norm, up or down.

    Use it as a weight projection, after steps along the sphere (`sso`); `SpectralNormalize` only shrinks.

    .. math::
        r \, W / \sigma_1

    Args:
        radius: r > 0, in the units of the matrix; a number or a traced scalar.
        power_steps: of the power iteration that measures the largest singular value, from below; None decomposes.

    Raises:
        ValueError: for a radius that is not positive, or power steps that are no whole number of at least 1.

    References:
        Spectral Sphere Optimizer, arXiv 2601.08393.
    """

    radius: Number = 1.0
    power_steps: int | None = None

    def __post_init__(self):
        """Raise on a radius that is not positive, and a loop without a step."""
        require_positive("OnSphere", radius=self.radius)
        if self.power_steps is not None:
            require_whole("OnSphere: power_steps", self.power_steps)

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """By decomposition; a power iteration starts from one side."""
        return self.power_steps is None

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """By decomposition; a power iteration's start depends on the length."""
        return self.power_steps is None

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Scale every matrix; zero stays zero."""
        require_inexact(x, "OnSphere")
        if 0 in x.shape:
            return x
        # Measured at size 1: the norm of a matrix at the end of the range is beyond it.
        unit = divide_by_largest_entry(x)
        size = one_if_zero(leading_pair(unit, self.power_steps).size)[..., None, None]
        return (unit / size * jnp.asarray(self.radius, size.dtype)).astype(x.dtype)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Scale the spectrum."""
        largest = jnp.max(s, axis=-1, keepdims=True)
        return quotient(s, one_if_zero(largest)) * jnp.asarray(self.radius, s.dtype)
