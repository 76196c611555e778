"""One map for CPUs and another for accelerators, chosen when the program is compiled for a platform."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._map import SpectralMap
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz
from optax_muon.linalg.orthogonal._plain_or_gram import PlainOrGram


@dataclasses.dataclass(frozen=True)
class ByPlatform(SpectralMap):
    """Run one iteration on a CPU and the same schedule in a narrower arithmetic on every other platform.

    Only the branch of its own platform is in a compiled program. JAX's default backend decides nothing, for it says
    nothing of programs that are compiled for another platform. Float64 and complex matrices take ``cpu`` everywhere.

    Args:
        cpu: for CPUs, and for float64 and complex matrices.
        accelerator: for TPUs and GPUs.
    """

    cpu: NewtonSchulz | PlainOrGram
    accelerator: NewtonSchulz | PlainOrGram

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both do: they have one normaliser."""
        return self.cpu.commutes_with_transpose

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether both do: they have one normaliser."""
        return self.cpu.commutes_with_padding

    @property
    def plain(self) -> NewtonSchulz:
        """The plain iteration of the schedule, in the arithmetic of CPUs."""
        return self.cpu.plain if isinstance(self.cpu, PlainOrGram) else self.cpu

    def flops(self, m: int, n: int) -> int:
        """Count the products of one m x n matrix; the dearer of the two."""
        return max(self.cpu.flops(m, n), self.accelerator.flops(m, n))

    def on_cpu(self) -> SpectralMap:
        """Give the map that a CPU runs."""
        return self.cpu

    def on_accelerator(self, dtype: Any) -> SpectralMap:
        """Give the map that a TPU or GPU runs on matrices of ``dtype``."""
        narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize <= 4
        return self.accelerator if narrow else self.cpu

    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Orthogonalise every matrix; the result has the dtype of ``x``."""
        accelerator = self.on_accelerator(x.dtype)
        if accelerator is self.cpu or 0 in x.shape or x.ndim < 2:
            return self.cpu.apply(x)
        return jax.lax.platform_dependent(x, cpu=self.cpu.apply, default=accelerator.apply)

    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Compose the polynomials on the normalised spectrum."""
        return self.cpu.scalar(s)
