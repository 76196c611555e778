"""The two contracts of the matrix world: spectral maps and matrix operations.

Both act on stacks of matrices, shape ``(*batch, m, n)``, each matrix of the stack on its own. They return the
*ascent* direction; the learning rate alone flips the sign.
"""

import abc
from collections.abc import Mapping
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

    def on_cpu(self) -> "SpectralMap":
        """Give the map that a CPU runs: this one, unless it depends on the platform."""
        return self

    def on_accelerator(self, dtype: Any) -> "SpectralMap":
        """Give the map that a TPU or GPU runs on matrices of ``dtype``: this one, unless it depends on the platform."""
        del dtype
        return self

    def reads(self, dtype: Any) -> Any:
        """Say to which dtype it rounds matrices of ``dtype`` first of all; so they may be stacked and sent in it."""
        return dtype


class Info(NamedTuple):
    """What a matrix operation learned on the way.

    Attributes:
        dual: ``<x, y>`` of every matrix, shape ``(*batch,)``, or None where the operation does not compute it.
        factors: thin ``(a, b)`` with ``a b^T`` the part of ``x`` that a low-rank operation used, or None.
        message: arrays from which a `MessageOp` makes ``y`` elsewhere, or None.
    """

    dual: Any = None
    factors: Any = None
    message: Any = None


class MatrixOp(abc.ABC):
    """A map on matrices that needs state, a random key or further matrices, or returns a dual value.

    Attributes:
        commutes_with_transpose: as for `SpectralMap`.
        commutes_with_padding: as for `SpectralMap`.
        needs_key: whether ``apply`` takes one random key per matrix, shape ``(*batch,)``.
        takes: names of the further stacks that ``apply`` takes, such as the raw gradient beside its momentum.
        real_only: whether the lift raises on complex matrices, by path.
        same_cost: whether every call costs the same whatever the state, so that a trace of one tells it.
    """

    commutes_with_transpose: ClassVar[bool] = False
    commutes_with_padding: ClassVar[bool] = False
    needs_key: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ()
    real_only: ClassVar[bool] = False
    same_cost: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Make the state for a stack of shape ``(*batch, m, n)``: arrays whose leading axes are ``batch``."""

    @abc.abstractmethod
    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Map every matrix and return the new state.

        Args:
            x: the matrices.
            carry: the state of each, as `init` made it.
            key: random keys, one per matrix, shape ``(*batch,)``; for an operation that needs them.
            **others: by the names of ``takes``, further stacks of the shape of ``x``: matrices at the same places of
                another tree, oriented, cut and sharded as those of ``x``.

        Raises:
            TypeError: naming a further stack that is missing, or that this operation does not take.
            ValueError: naming one of another shape than ``x``.
        """

    def check_others(self, x: Array, others: Mapping[str, Array]) -> None:
        """Raise unless ``others`` are the stacks that ``takes`` names, each of the shape of ``x``."""
        owner = type(self).__name__
        for name in others:
            if name not in self.takes:
                known = " and ".join(self.takes) or "no further matrices"
                raise TypeError(f"{owner}.apply takes {known}, not {name!r}")
        for name in self.takes:
            if name not in others:
                raise TypeError(f"{owner}.apply needs {name!r}, a stack like x, {x.shape}")
            if others[name].shape != x.shape:
                raise ValueError(f"{owner}.apply: {name} has shape {others[name].shape} where x has {x.shape}")


class MessageOp(MatrixOp):
    """An operation whose result can be made elsewhere from a few numbers: a compressor.

    `Info.message` has two parts: what differs between workers, and so has to be sent, and what all have alike.

    Attributes:
        is_linear: whether the mean of what several workers send is what one would send of their mean.
    """

    is_linear: ClassVar[bool] = False

    @abc.abstractmethod
    def decode(self, sent: Any, common: Any, shape: tuple[int, ...]) -> Float[Array, "*batch m n"]:
        """Make the result for a stack of ``shape`` from the two parts of `Info.message`."""
