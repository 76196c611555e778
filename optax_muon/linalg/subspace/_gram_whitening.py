"""Whitening by powers of plain Gram matrices: Shampoo's factors."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from optax_muon._numbers import require_fraction, require_positive
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype, of_squarable_size, summable
from optax_muon.linalg._decompositions import eigenvectors
from optax_muon.linalg._map import Info
from optax_muon.linalg._scale import one_if_zero
from optax_muon.linalg.subspace._eigenbasis import KEEP, SIDES, Refresh, gram, initial_factors
from optax_muon.linalg.subspace._whitening import GradientOp, along


@dataclasses.dataclass(frozen=True)
class GramWhitening(GradientOp):
    r"""Multiply by negative powers of the gradient's averaged Gram matrices, on both sides or one.

    Use it, through `shampoo`, by itself, and through `mousse`, around an orthogonaliser.

    .. math::
        L \leftarrow \beta L + (1 - \beta) G G^T, \qquad R \leftarrow \beta R + (1 - \beta) G^T G, \qquad
        Y = \hat L^{-p} X \hat R^{-p}

    with :math:`\hat L = m L / \operatorname{tr} L + \epsilon I`, whose eigenvalues are 1 on average, so that Y has
    about the size of X; with ``sized`` the size of gradients is divided out as well, as Shampoo's powers do:

    .. math::
        Y = \frac{(m n)^p}{\sqrt{\operatorname{tr} L}} \, \hat L^{-p} X \hat R^{-p}

    Powers are taken on a schedule and kept in between.

    Args:
        decay: beta.
        exponent: p; 1/4 of one gradient's own factors sends its singular values to 1.
        refresh: when powers are taken; always by decomposition.
        sides: of which side there are factors.
        max_side: a longer side is left as it is, and keeps no factor.
        eps: added to the eigenvalues, whose mean is 1.
        sized: divide by the root of the trace, with bias correction, for factors as they are.
        how: set by `at`, as ``count`` is.
        count: the update's number from zero.

    Raises:
        ValueError: for a decay outside [0, 1), an exponent or eps that is not positive, or unknown sides.

    State: 2 (m^2 + n^2) floats for an m x n matrix.

    References:
        Gupta et al., Shampoo, arXiv 1802.09568; Morwani et al., arXiv 2406.17748; Mousse, arXiv 2603.09697.
    """

    decay: Number = 0.95
    exponent: Number = 0.125
    refresh: Refresh = Refresh(10, "decompose")
    sides: Literal["both", "output", "reduction"] = "both"
    max_side: int = 10000
    eps: float = 1e-5
    sized: bool = False
    how: Any = KEEP
    count: Any = 0

    def __post_init__(self):
        """Raise on what cannot be."""
        require_fraction("GramWhitening: decay", self.decay)
        require_positive("GramWhitening", exponent=self.exponent, eps=self.eps)
        if self.sides not in ("both", "output", "reduction"):
            raise ValueError(f"GramWhitening: sides must be 'both', 'output' or 'reduction', not {self.sides!r}")

    def at(self, count: Array) -> "GramWhitening":
        """Return the operation as it is at update ``count``, from zero."""
        return dataclasses.replace(self, how=self.refresh.how(count), count=count)

    def init(self, shape: tuple[int, ...], dtype: Any) -> dict[str, Array]:
        """Start from factors of zero and powers of I."""
        # Stacks are (reduction, output): the left factor is that of the reduction side.
        absent = {"both": None, "output": "left", "reduction": "right"}[self.sides]
        made = initial_factors(shape, dtype, self.max_side)
        return {name: x for name, x in made.items() if name not in (absent, f"{absent}_factor")}

    def apply(
        self, x: Float[Array, "*batch m n"], carry: Any, *, key: Array | None = None, **others: Array
    ) -> tuple[Array, Any, Info]:
        """Learn from ``gradient``, then multiply ``x``; a matrix without a factor passes."""
        del key
        self.check_others(x, others)
        if not carry or 0 in x.shape:
            return x, carry, Info()
        g = of_squarable_size(others["gradient"].astype(accumulator_dtype(x.dtype)))
        new = {}
        count = sum(side in carry for side in SIDES)
        for side in SIDES:
            if side in carry:
                factor = self.decay * carry[f"{side}_factor"] + (1 - self.decay) * gram(g, side)
                factor = factor.astype(carry[side].dtype)
                new[f"{side}_factor"] = factor
                new[side] = jax.lax.cond(
                    self.how != KEEP, lambda f, _: self._power(f, count), lambda _, old: old, factor, carry[side]
                )
        return self.whitened(x, new), new, Info()

    def whitened(self, x: Float[Array, "*batch m n"], carry: dict[str, Array]) -> Float[Array, "*batch m n"]:
        """Multiply by the powers that the state holds."""
        y = summable(x.astype(accumulator_dtype(x.dtype)))
        y = FLOAT32.matmul(carry["left"], y) if "left" in carry else y
        y = FLOAT32.matmul(y, carry["right"]) if "right" in carry else y
        return y.astype(x.dtype)

    def _power(self, factor: Float[Array, "*batch m m"], sides: int) -> Float[Array, "*batch m m"]:
        """Return the power of one factor, ``sides`` of which share the gradient's size."""
        size = factor.shape[-1]
        trace = jnp.trace(factor, axis1=-2, axis2=-1)[..., None, None]
        even = factor * (size / one_if_zero(trace))
        basis = eigenvectors(even)
        values = along(basis, even) + self.eps
        # Rounding leaves negative ones of a factor without full rank.
        values = values + jnp.maximum(self.eps - jnp.min(values, axis=-1, keepdims=True), 0)
        root = FLOAT32.matmul(basis * values[..., None, :] ** -self.exponent, basis.mT)
        if self.sized:
            mean = trace / (1 - self.decay ** (jnp.asarray(self.count, factor.dtype) + 1))
            root = root * size**self.exponent * one_if_zero(mean) ** (-0.5 / sides)
        return root.astype(factor.dtype)
