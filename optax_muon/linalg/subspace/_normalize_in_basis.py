"""Adam's normalization in the singular vectors of the momentum."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_fraction
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype, of_squarable_size, squarable, summable
from optax_muon.linalg._decompositions import eigenvectors
from optax_muon.linalg._map import Info
from optax_muon.linalg._scale import one_if_zero, square_root
from optax_muon.linalg.subspace._eigenbasis import from_basis, gram, to_basis
from optax_muon.linalg.subspace._whitening import GradientOp


@dataclasses.dataclass(frozen=True)
class NormalizeInBasis(GradientOp):
    r"""Divide by the RMS of the gradient's entries along the singular vectors of what is given (Conda).

    Use it, through `conda`, where Adam's second moment should be measured in coordinates that fit the gradient.

    .. math::
        V \leftarrow \beta V + (1 - \beta) (Q^T G)^2, \qquad
        Y = Q \frac{Q^T X}{(\sqrt V + \varepsilon) / \sqrt{1 - \beta^t}}, \qquad X = Q \Sigma P^T

    written for a matrix with at most as many rows as columns; else from the right. Q is taken anew from ``x`` every
    ``refresh_every`` updates, the first included. V is not re-expressed then: what was measured along the i-th singular
    vector stays with the i-th.

    Args:
        decay: beta.
        refresh_every: updates between decompositions.
        eps: added to the RMS.
        count: the update's number from zero, set by `at`.

    Raises:
        ValueError: for a decay outside [0, 1) or ``refresh_every`` below 1.

    State: m n + min(m, n)^2 floats for an m x n matrix.

    References:
        Wang et al., Conda, arXiv 2509.24218, github.com/jie040109/Conda.
    """

    decay: Number = 0.99
    refresh_every: int = 2000
    eps: float = 1e-8
    count: Any = 0

    def __post_init__(self):
        """Raise on what cannot be."""
        require_fraction("NormalizeInBasis: decay", self.decay)
        if self.refresh_every < 1:
            raise ValueError(f"NormalizeInBasis: refresh_every must be at least 1, not {self.refresh_every}")

    def at(self, count: Array) -> "NormalizeInBasis":
        """Return the operation as it is at update ``count``, from zero."""
        return dataclasses.replace(self, count=count)

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start from a second moment of zero and a basis of I."""
        n, wide = min(shape[-2:]), accumulator_dtype(dtype)
        basis = jnp.broadcast_to(jnp.eye(n, dtype=wide), (*shape[:-2], n, n))
        return {"second_moment": jnp.zeros(shape, wide), "basis": basis}

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Any, Info]:
        """Turn where it is time, learn from ``gradient``, and normalize ``x``."""
        del key
        self.check_others(x, others)
        if 0 in x.shape:
            return x, carry, Info()
        dtype = x.dtype
        g, x = (summable(a.astype(accumulator_dtype(dtype))) for a in (others["gradient"], x))
        side = "left" if x.shape[-2] <= x.shape[-1] else "right"

        def decomposed(x: Array, basis: Array) -> Array:
            """Return the singular vectors of ``x`` on its shorter side, the largest first."""
            return eigenvectors(gram(of_squarable_size(x), side))[..., ::-1].astype(basis.dtype)

        due = jnp.asarray(self.count % self.refresh_every == 0)
        # In a cond: a decomposition every 2000 steps must not be paid at each.
        basis = jax.lax.cond(due, decomposed, lambda x, basis: basis, x, carry["basis"])
        bases = {side: basis}
        seen = squarable(to_basis(g, bases))
        second = (self.decay * carry["second_moment"] + (1 - self.decay) * seen * seen).astype(basis.dtype)
        age = jnp.sqrt(1 - jnp.asarray(self.decay, second.dtype) ** (self.count + 1))
        turned = age * to_basis(x, bases) / one_if_zero(square_root(second) + self.eps)
        return from_basis(turned, bases).astype(dtype), {"second_moment": second, "basis": basis}, Info()
