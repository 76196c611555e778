"""Polar factors whose vectors along the longer side are of like length."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from optax_muon._numbers import require_not_negative, require_whole
from optax_muon._types import Number
from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp, SpectralMap
from optax_muon.linalg._scale import one_if_zero, unit_length


@dataclasses.dataclass(frozen=True)
class Balanced(MatrixOp):
    r"""Orthogonalise, with rows of a tall matrix weighed so that they come out about equally long (Aurora).

    Use it where some of many neurons die: the rows of a tall orthogonal matrix have any lengths between 0 and 1, and
    those of this one tend to :math:`\sqrt{n / m}` each.

    .. math::
        d_i = 1 / \|X_i\|, \qquad U = \operatorname{orth}(\operatorname{diag}(d) X), \qquad
        d_i \leftarrow d_i \left( \frac{n / m}{\|U_i\|^2} \right)^p \quad (K - 1 \text{ times}), \qquad m > n

    A wide matrix is treated by columns, a square one is orthogonalised as it is. It is no function of the singular
    values, but every U is orthogonal.

    Args:
        orthogonalizer: a map of `optax_muon.linalg`, run K times.
        iterations: K; 1 is orthogonalisation of the normalised rows (MuonEq).
        power: p, in weighing; larger is faster, and may overshoot.

    Raises:
        ValueError: for iterations below 1, or a negative power; from ``apply``, for an array that is no stack.
        TypeError: from ``apply``, for integer matrices.

    State: none.

    References:
        Tilde Research, Aurora (2026), github.com/tilde-research/aurora-release.
    """

    commutes_with_padding: ClassVar[bool] = False  # the sides' ratio is in the rule
    orthogonalizer: SpectralMap
    iterations: int = 2
    power: Number = 0.5

    def __post_init__(self):
        """Raise on what cannot be."""
        require_whole("Balanced: iterations", self.iterations)
        require_not_negative("Balanced", power=self.power)

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the orthogonaliser does; which side is longer is turned with the matrix."""
        return self.orthogonalizer.commutes_with_transpose

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Return no state."""
        del shape, dtype
        return ()

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Orthogonalise every matrix; the result has the dtype of ``x``."""
        del key
        self.check_others(x, others)
        require_inexact(x, "Balanced")
        m, n = x.shape[-2:]
        if 0 in x.shape or m == n:
            return self.orthogonalizer.apply(x), carry, Info()
        along = -1 if m > n else -2
        rows = unit_length(x.astype(accumulator_dtype(x.dtype)), along)
        u = self.orthogonalizer.apply(rows)
        weight, wanted = jnp.ones_like(jnp.real(rows), shape=self._one_each(x.shape, along)), min(m, n) / max(m, n)
        for _ in range(self.iterations - 1):
            squares = jnp.sum(jnp.real(u * jnp.conj(u)), axis=along, keepdims=True)
            # A row of zeros stays one, whatever its weight.
            weight = weight * jnp.where(squares == 0, 1, wanted / one_if_zero(squares)) ** self.power
            u = self.orthogonalizer.apply(weight * rows)
        return u.astype(x.dtype), carry, Info()

    @staticmethod
    def _one_each(shape: tuple[int, ...], along: int) -> tuple[int, ...]:
        """Shape of one number for each vector along an axis."""
        return (*shape[:-1], 1) if along == -1 else (*shape[:-2], 1, shape[-1])
