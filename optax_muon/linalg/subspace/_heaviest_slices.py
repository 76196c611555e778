"""The heaviest rows or columns of a matrix, orthogonalised among themselves."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optax_muon._numbers import is_known
from optax_muon.linalg._arithmetic import FLOAT32, accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp, SpectralMap
from optax_muon.linalg._scale import divide_by_largest_entry


@dataclasses.dataclass(frozen=True)
class HeaviestSlices(MatrixOp):
    r"""Orthogonalise the rows or columns of largest sum alone, and leave zeros elsewhere.

    Use it, through `transforms.sliced_momentum`, where a fraction of the work and of what travels has to do.

    .. math::
        S = \text{the } k \text{ slices of largest } \|X_i\|_1, \qquad k = \max(1, \lceil f m \rceil), \qquad
        Y_S = \operatorname{orth}(X_S)

    ``info.factors`` are the thin factors of X on S, zero elsewhere.

    Args:
        orthogonalizer: a map of `optax_muon.linalg`.
        fraction: f, in (0, 1]; it shapes the program, so it is a number and no tracer.
        side: slices are one for each index of the shorter side, or of the output side.

    Raises:
        ValueError: for a fraction outside (0, 1], or an unknown side.

    State: none.

    References:
        Dion2, arXiv 2512.16928, github.com/microsoft/dion.
    """

    orthogonalizer: SpectralMap
    fraction: float = 0.25
    side: Literal["shorter", "output"] = "shorter"

    def __post_init__(self):
        """Raise on what cannot be."""
        if not is_known(self.fraction) or not 0 < self.fraction <= 1:
            raise ValueError(f"HeaviestSlices: fraction must be a number in (0, 1], not {self.fraction}")
        if self.side not in ("shorter", "output"):
            raise ValueError(f"HeaviestSlices: side must be 'shorter' or 'output', not {self.side!r}")

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Return no state."""
        del shape, dtype
        return ()

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Map every matrix; the result has the dtype of ``x``."""
        del key
        self.check_others(x, others)
        require_inexact(x, "HeaviestSlices")
        m, n = x.shape[-2:]
        # Stacks are (reduction, output): slices of the output side are columns.
        columns = self.side == "output" or n <= m
        wide = x.astype(accumulator_dtype(x.dtype))
        wide = wide if columns else wide.mT
        size = wide.shape[-1]
        count = max(1, math.ceil(self.fraction * size)) if size else 0
        if 0 in x.shape:
            empty = jnp.zeros((*x.shape[:-2], m, 0), wide.dtype), jnp.zeros((*x.shape[:-2], n, 0), wide.dtype)
            return x, carry, Info(factors=empty)
        weights = jnp.sum(jnp.abs(divide_by_largest_entry(wide)), axis=-2)
        # In the order of their places: then the whole is the whole, to the bit.
        chosen = jnp.sort(jax.lax.top_k(jax.lax.stop_gradient(weights), count)[1], axis=-1)
        part = jnp.take_along_axis(wide, chosen[..., None, :], axis=-1)
        places = jax.nn.one_hot(chosen, size, axis=-2, dtype=wide.dtype)
        y = FLOAT32.matmul(self.orthogonalizer.apply(part), places.mT)
        if columns:
            return y.astype(x.dtype), carry, Info(factors=(part, places))
        return y.mT.astype(x.dtype), carry, Info(factors=(places, part))
