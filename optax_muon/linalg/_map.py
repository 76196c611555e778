"""The two contracts of the matrix world: spectral maps and matrix operations.

Both act on stacks of matrices, shape ``(*batch, m, n)``, each matrix of the stack on its own. They return the
*ascent* direction; the learning rate alone flips the sign.
"""

import abc
from typing import Any, ClassVar, NamedTuple

from jaxtyping import Array, Float, PyTree


class SpectralMap(abc.ABC):
    """A function of the singular values: it takes ``U S V^T`` to ``U f(S) V^T``.

    A map is an immutable description (a frozen dataclass). Whatever sets its structure is static; numeric
    coefficients may be tracers, so a map is never a dictionary key.

    Attributes:
        commutes_with_transpose: ``apply(x.T) == apply(x).T``; lets transposed shapes share a bucket.
        commutes_with_padding: zero rows and columns stay zero and change nothing else.
    """

    commutes_with_transpose: ClassVar[bool] = True
    commutes_with_padding: ClassVar[bool] = True

    @abc.abstractmethod
    def apply(self, x: Float[Array, "*batch m n"]) -> Float[Array, "*batch m n"]:
        """Map every matrix of the stack; the shape and dtype are kept."""

    @abc.abstractmethod
    def scalar(self, s: Float[Array, "*batch r"]) -> Float[Array, "*batch r"]:
        """Say what ``apply`` does to the spectrum ``s`` of each matrix (last axis: all its singular values)."""


class Info(NamedTuple):
    """What a matrix operation learned on the way.

    Attributes:
        dual: ``<x, y>`` of every matrix, shape ``(*batch,)``, or None where the operation does not compute it.
        factors: thin ``(a, b)`` with ``a b^T`` the part of ``x`` that a low-rank operation used, or None.
    """

    dual: Any = None
    factors: Any = None


class MatrixOp(abc.ABC):
    """A map on matrices that needs state, a random key or numbers of each matrix, or returns a dual value.

    Attributes:
        commutes_with_transpose: as for `SpectralMap`.
        commutes_with_padding: as for `SpectralMap`.
        needs_key: whether ``apply`` takes one random key per matrix, shape ``(*batch,)``.
        real_only: whether the lift raises on complex matrices, by path.
    """

    commutes_with_transpose: ClassVar[bool] = False
    commutes_with_padding: ClassVar[bool] = False
    needs_key: ClassVar[bool] = False
    real_only: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Make the state for a stack of shape ``(*batch, m, n)``: arrays whose leading axes are ``batch``."""

    @abc.abstractmethod
    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **per_matrix: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Map every matrix and return the new state; ``per_matrix`` arrays have shape ``(*batch,)``."""
