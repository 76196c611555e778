"""Directions in which the spectral norm of the weights stays what it is, to first order."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_whole
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg.constrained._constraint import Constraint, Equations
from optax_muon.linalg.constrained._leading_pair import leading_pair, noise


@dataclasses.dataclass(frozen=True)
class Sphere(Constraint):
    r"""Stay tangent to the sphere of the spectral norm through the weights.

    Use it, through `sso`, for weights of a given spectral norm: steps along the sphere leave it by the square of the
    rate, others by the rate.

    .. math::
        L(D) = \langle u v^T, D \rangle, \qquad W = \sigma_1 u v^T + \dots

    Args:
        power_steps: of the power iteration that finds u and v, each two products with a vector; None decomposes. A
            warm start keeps the vector of the output side, and may do with one or two.

    Raises:
        ValueError: for power steps that are no whole number of at least 1.

    References:
        Spectral Sphere Optimizer, arXiv 2601.08393, github.com/Unakar/Spectral-Sphere-Optimizer.
    """

    one_equation: ClassVar[bool] = True
    power_steps: int | None = 20

    def __post_init__(self):
        """Raise on a loop without a step."""
        if self.power_steps is not None:
            require_whole("Sphere: power_steps", self.power_steps)

    def carried(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start power iterations from fixed noise."""
        if self.power_steps is None:
            return {}
        return {"right": jnp.broadcast_to(noise(shape[-1], accumulator_dtype(dtype)), (*shape[:-2], shape[-1]))}

    def multipliers(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return one number for every matrix."""
        return shape[:-2]

    def equations(self, weights: Float[Array, "*batch m n"] | None, state: Mapping[str, Array]) -> Equations:
        """Find the leading singular vectors."""
        assert weights is not None
        pair = leading_pair(weights, self.power_steps, state.get("right"))
        theta = pair.left[..., :, None] * pair.right[..., None, :]
        carried = {} if self.power_steps is None else {"right": pair.right}
        return Equations(
            lambda d: jnp.sum(theta * d, axis=(-2, -1)),
            lambda multiplier: multiplier[..., None, None] * theta,
            carried,
        )
