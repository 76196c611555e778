"""Where and in which order the matrices of a tree are computed."""

import abc
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from jaxtyping import Array, PyTree

from optax_muon.linalg import Info, MatrixOp, SpectralMap
from optax_muon.matrices._leaf import Leaf


class Work(NamedTuple):
    """One parameter-shaped array to be mapped.

    Attributes:
        array: the values.
        leaf: its axes.
        carries: the operation's state, one pytree per stack of `as_matrices`; leading axis: matrices.
        keys: random keys, one array per stack, or None.
        others: further arrays of the parameter's shape, by the name under which the operation takes their matrices.
        path: the parameter's name, for messages and for specs given by hand.
    """

    array: Array
    leaf: Leaf
    carries: tuple[PyTree, ...] = ()
    keys: tuple[Array, ...] | None = None
    others: Mapping[str, Array] = MappingProxyType({})
    path: str = ""


class Done(NamedTuple):
    """What became of a `Work`.

    Attributes:
        array: the mapped values, of the same shape.
        carries: the operation's new state, one pytree per stack of `as_matrices`.
        infos: what the operation learned of the matrices of each stack.
    """

    array: Array
    carries: tuple[PyTree, ...]
    infos: tuple[Info, ...]


class Placement(abc.ABC):
    """Carries out an operation on many parameters; the result does not depend on the choice, but for `OnShards`."""

    @abc.abstractmethod
    def run(self, op: SpectralMap | MatrixOp, works: Sequence[Work]) -> list[Done]:
        """Map every array; gives one `Done` for each `Work`, in their order."""
