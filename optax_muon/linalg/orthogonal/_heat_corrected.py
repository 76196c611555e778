"""A map with the bias taken off that noise in its argument causes."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_fraction, require_not_negative, require_positive, require_whole
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._map import Info, MatrixOp, SpectralMap


@dataclasses.dataclass(frozen=True)
class HeatCorrected(MatrixOp):
    r"""Take half the variance times the Laplacian off a map whose argument holds white noise of known size.

    Use it after a momentum of gradients to which noise was added on purpose. To leading order the mean of
    :math:`f(M + s \Xi)` is f after a heat flow, :math:`f(M) + \tfrac{s^2}{2} \Delta f(M)`.

    .. math::
        s_t^2 = \mu^2 s_{t-1}^2 + \sigma^2, \qquad
        Y = f(X) - \frac{1}{2 h^2 K} \sum_{k=1}^K f(X + h s_t \Xi_k) - 2 f(X) + f(X - h s_t \Xi_k)

    with entries of :math:`\Xi_k` that are plus or minus 1 by a coin; h = 1 is a bootstrap's correction.

    Args:
        op: f.
        deviation: sigma, the standard deviation of the noise in an entry of one gradient.
        decay: mu of the heavy ball between the noise and this map.
        probes: K, each of which costs two calls of f.
        step: h, in units of the noise.

    Raises:
        ValueError: for numbers out of range.

    State: one float per matrix.

    References:
        OUR READING of DP-MuonBC's abstract, Kim and Fan, arXiv 2605.12994.
    """

    needs_key: ClassVar[bool] = True
    real_only: ClassVar[bool] = True

    op: SpectralMap
    deviation: Number
    decay: Number = 0.0
    probes: int = 4
    step: Number = 1.0

    def __post_init__(self):
        """Raise on numbers out of range."""
        require_not_negative("HeatCorrected", deviation=self.deviation)
        require_fraction("HeatCorrected: decay", self.decay)
        require_whole("HeatCorrected: probes", self.probes)
        require_positive("HeatCorrected", step=self.step)

    def init(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Start without noise."""
        return jnp.zeros(shape[:-2], accumulator_dtype(dtype))

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Array, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], Array, Info]:
        """Map every matrix, and take off what its noise adds on average."""
        self.check_others(x, others)
        variance = (self.decay**2 * carry + self.deviation**2).astype(carry.dtype)
        if 0 in x.shape:
            return x, variance, Info()
        wide = x.astype(carry.dtype)
        reach = (self.step * jnp.sqrt(variance))[..., None, None]
        y = self.op.apply(wide)

        def add(total: Array, k: Array) -> tuple[Array, None]:
            """Add one probe's second difference."""
            xi = reach * _signs(key, k, x.shape).astype(wide.dtype)
            # A sum of differences: each vanishes with the noise, where their parts do not.
            return total + (self.op.apply(wide + xi) - y) + (self.op.apply(wide - xi) - y), None

        # A scan, so that one probe's temporaries are alive at a time.
        total, _ = jax.lax.scan(add, jnp.zeros_like(y), jnp.arange(self.probes))
        corrected = y - total / (2 * self.step**2 * self.probes)
        return corrected.astype(x.dtype), variance, Info()


def _signs(key: Any, k: Array, shape: tuple[int, ...]) -> Array:
    """Toss a coin for every entry, with each matrix's own key."""

    def toss(one: Array) -> Array:
        """Toss those of one matrix."""
        return jax.random.rademacher(jax.random.fold_in(one, k), shape[-2:], jnp.float32)

    for _ in shape[:-2]:
        toss = jax.vmap(toss)
    return toss(key)
