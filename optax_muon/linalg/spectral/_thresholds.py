"""Thresholds for the largest singular value, fixed or learned from its past."""

import abc
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from optax_muon._numbers import require_fraction, require_positive, require_share
from optax_muon._types import Number


class Threshold(abc.ABC):
    """A cap per matrix that may follow the spectral norms seen so far, before any clipping.

    A norm that is not finite is never taken up, so that one broken gradient does not spoil the threshold.
    """

    @abc.abstractmethod
    def init(self, batch: tuple[int, ...], dtype: Any) -> PyTree:
        """Make the state; every array's leading axes are ``batch``."""

    @abc.abstractmethod
    def step(self, norm: Float[Array, "*batch"], memory: PyTree) -> tuple[Float[Array, "*batch"], PyTree]:
        """Return the cap for matrices of spectral norm ``norm``, from earlier norms alone, and the new state."""


@dataclasses.dataclass(frozen=True)
class ConstantThreshold(Threshold):
    """The same cap for every matrix at every step.

    Use it where the scale of the gradients is known, as one number for all matrices.

    Args:
        value: the cap > 0, in the units of the matrix; a number or a traced scalar.

    Raises:
        ValueError: for a value that is not positive.
    """

    value: Number

    def __post_init__(self):
        """Raise on a cap that is not positive."""
        require_positive("ConstantThreshold", value=self.value)

    def init(self, batch: tuple[int, ...], dtype: Any) -> PyTree:
        """Keep nothing."""
        del batch, dtype
        return ()

    def step(self, norm: Float[Array, "*batch"], memory: PyTree) -> tuple[Float[Array, "*batch"], PyTree]:
        """Return the cap, once per matrix."""
        return jnp.broadcast_to(jnp.asarray(self.value, norm.dtype), norm.shape), memory


@dataclasses.dataclass(frozen=True)
class MovingAverageThreshold(Threshold):
    """The bias-corrected exponential average of past spectral norms; nothing is clipped at the first step.

    Use it where gradients' sizes drift slowly and differ between layers.

    Args:
        decay: the decay rate, in [0, 1).

    Raises:
        ValueError: for a decay outside [0, 1).

    State: 2 floats a matrix.

    References:
        Yukhimchuk et al., arXiv 2605.11838.
    """

    decay: float = 0.9

    def __post_init__(self):
        """Raise on a decay rate outside [0, 1)."""
        require_fraction("MovingAverageThreshold: decay", self.decay)

    def init(self, batch: tuple[int, ...], dtype: Any) -> PyTree:
        """Start without a past: average and total weight 0."""
        return {"average": jnp.zeros(batch, dtype), "weight": jnp.zeros(batch, dtype)}

    def step(self, norm: Float[Array, "*batch"], memory: PyTree) -> tuple[Float[Array, "*batch"], PyTree]:
        """Return the average so far, and take ``norm`` up."""
        average, weight = memory["average"], memory["weight"]
        # The first cap is the norm itself, so the first gradient passes whole.
        threshold = jnp.where(weight > 0, average / jnp.where(weight > 0, weight, 1), norm)
        rate, usable = 1 - self.decay, jnp.isfinite(norm)
        average = jnp.where(usable, self.decay * average + rate * jnp.where(usable, norm, 0), average)
        weight = jnp.where(usable, self.decay * weight + rate, weight)
        return threshold, {"average": average, "weight": weight}


@dataclasses.dataclass(frozen=True)
class QuantileThreshold(Threshold):
    """A quantile of the spectral norms in a sliding window; nothing is clipped at the first step.

    Use it where gradients are heavy tailed: a spike moves a quantile less than it moves an average.

    Args:
        quantile: in [0, 1]; of n norms the one at sorted position floor(quantile * (n - 1)).
        window: how many norms are kept, in updates.

    Raises:
        ValueError: for a quantile outside [0, 1], or a window below 1.

    State: window + 1 numbers a matrix.

    References:
        Yukhimchuk et al., arXiv 2605.11838.
    """

    quantile: float = 0.85
    window: int = 100

    def __post_init__(self):
        """Raise on a quantile outside [0, 1] and a window below 1."""
        require_share("QuantileThreshold: quantile", self.quantile)
        if self.window < 1:
            raise ValueError(f"QuantileThreshold: window must be >= 1, not {self.window}")

    def init(self, batch: tuple[int, ...], dtype: Any) -> PyTree:
        """Start with an empty window."""
        return {"norms": jnp.zeros((*batch, self.window), dtype), "seen": jnp.zeros(batch, jnp.int32)}

    def step(self, norm: Float[Array, "*batch"], memory: PyTree) -> tuple[Float[Array, "*batch"], PyTree]:
        """Return the quantile of the window, then let ``norm`` replace the oldest."""
        norms, seen = memory["norms"], memory["seen"]
        place = jnp.arange(self.window).reshape((1,) * norm.ndim + (-1,))
        count = jnp.minimum(seen, self.window)[..., None]
        # Places not yet written sort to the end, beyond every index that the count allows.
        ordered = jnp.sort(jnp.where(place < count, norms, jnp.inf), axis=-1)
        # A table in float64: float32 would round 0.7 * 10 now to 7, now below it.
        index = np.floor(self.quantile * np.maximum(np.arange(-1, self.window), 0)).astype(np.int32)
        threshold = jnp.take_along_axis(ordered, jnp.asarray(index)[count], axis=-1)[..., 0]
        threshold = jnp.where(seen > 0, threshold, norm)
        # Counted within two windows: a counter that runs for ever would overflow.
        usable = jnp.isfinite(norm)
        written = (place == (seen % self.window)[..., None]) & usable[..., None]
        norms = jnp.where(written, norm[..., None], norms)
        seen = jnp.where(usable, seen + 1, seen)
        return threshold, {"norms": norms, "seen": jnp.where(seen >= 2 * self.window, seen - self.window, seen)}
