"""Directions that leave what a layer does with given inputs as it is."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg.constrained._constraint import Constraint, Equations


@dataclasses.dataclass(frozen=True, eq=False)
class Interference(Constraint):
    r"""Do not change what given outputs make of given inputs.

    Use it for continual learning, through `muon_ogd`: old tasks live in a subspace of a layer's inputs.

    .. math::
        L(D) = V^T D U, \qquad L^*(\Lambda) = V \Lambda U^T

    for a matrix D stored (reduction, output). Without ``outputs`` U = I: what protects every output has the closed form
    :math:`D = \operatorname{orth}((I - V V^T) X)`, to which the multipliers tend.

    Args:
        inputs: V, orthonormal columns (reduction, k), or one such matrix for every matrix of a stack, or a function of
            the length that returns them. k = 0 protects nothing.
        outputs: U, (output, l), in the same forms; None for all outputs.

    State: V, U and, with a warm start, the multipliers.

    Raises:
        ValueError: for arrays that do not fit the matrices, naming their shapes.

    References:
        Lu et al., Muon-OGD, arXiv 2605.08949.
    """

    needs_weights: ClassVar[bool] = False
    inputs: Any
    outputs: Any = None

    def constants(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Give every matrix its subspaces: as state they travel with it, however matrices are shared out."""
        *batch, m, n = shape
        made = {}
        for (name, basis), length in zip(self._bases(m, n).items(), (m, n), strict=False):
            found = jnp.shape(basis)
            if found[-2:-1] != (length,) or found[-1] > length or found[:-2] not in ((), tuple(batch)):
                raise ValueError(
                    f"Interference: {name} have shape {found}; matrices of shape {tuple(shape)} need ({length}, k), "
                    f"k <= {length}, or such a matrix for each of them"
                )
            made[name] = jnp.broadcast_to(jnp.asarray(basis, accumulator_dtype(dtype)), (*batch, *found[-2:]))
        return made

    def multipliers(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return one number for every pair of a protected input and output."""
        bases = self._bases(*shape[-2:])
        outputs = jnp.shape(bases["outputs"])[-1] if "outputs" in bases else shape[-1]
        return (*shape[:-2], jnp.shape(bases["inputs"])[-1], outputs)

    def equations(self, weights: Float[Array, "*batch m n"] | None, state: Mapping[str, Array]) -> Equations:
        """Set up the equations from the state alone."""
        del weights
        v, u = state["inputs"], state.get("outputs")

        def residual(d: Array) -> Array:
            """Return ``(*batch, k, l)``."""
            seen = FLOAT32.matmul(v.mT, d)
            return seen if u is None else FLOAT32.matmul(seen, u)

        def adjoint(multipliers: Array) -> Array:
            """Return ``(*batch, m, n)``."""
            made = FLOAT32.matmul(v, multipliers)
            return made if u is None else FLOAT32.matmul(made, u.mT)

        return Equations(residual, adjoint, {})

    def _bases(self, m: int, n: int) -> dict[str, Any]:
        """Give V and, where there is one, U."""
        given = {"inputs": (self.inputs, m), "outputs": (self.outputs, n)}
        found = {name: basis(length) if callable(basis) else basis for name, (basis, length) in given.items()}
        return {name: basis for name, basis in found.items() if basis is not None}
