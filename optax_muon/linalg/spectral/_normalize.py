"""Weight projections by the largest singular value alone."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_positive, require_share
from optax_muon._types import Number
from optax_muon.linalg._scale import quotient
from optax_muon.linalg.spectral._by_svd import ExactMap, by_size


@dataclasses.dataclass(frozen=True)
class SpectralNormalize(ExactMap):
    r"""Shrink a matrix whose largest singular value exceeds a cap, all its directions alike.

    Use it as a weight projection where the ratios between directions should survive; `SpectralClip` touches only the
    directions over the cap.

    .. math::
        W / \max(1, \sigma_1 / c)

    Args:
        maximum: c > 0, in the units of the matrix; a number or a traced scalar.

    Raises:
        ValueError: for a maximum that is not positive.

    References:
        Newhouse et al., Training Transformers with Enforced Lipschitz Constants, arXiv 2507.13338.
    """

    maximum: Number

    def __post_init__(self):
        """Raise on a cap that is not positive."""
        require_positive("SpectralNormalize", maximum=self.maximum)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Divide the spectrum."""
        return quotient(s, jnp.maximum(1, jnp.max(s, axis=-1, keepdims=True) / jnp.asarray(self.maximum, s.dtype)))


@dataclasses.dataclass(frozen=True)
class SpectralDecay(ExactMap):
    r"""Shrink the largest singular value by a share of it and leave the others: spectral weight decay.

    Use it as a weight projection in place of weight decay, where only the largest direction should be held down.

    .. math::
        W - \lambda \sigma_1 u_1 v_1^T

    Args:
        rate: lambda, in [0, 1], per call; a number or a traced scalar.

    Raises:
        ValueError: for a rate outside [0, 1].

    References:
        Newhouse et al., arXiv 2507.13338.
    """

    rate: Number

    def __post_init__(self):
        """Raise on a rate outside [0, 1]."""
        require_share("SpectralDecay: rate", self.rate)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Shrink the largest."""
        # The first of equal ones alone: the paper decays one direction a step.
        return jnp.where(by_size(s) == 0, (1 - jnp.asarray(self.rate, s.dtype)) * s, s)
