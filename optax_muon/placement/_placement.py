"""Where and in which order the matrices of a tree are computed."""

import abc
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from jax import lax
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


class Here(abc.ABC):
    """Computes arrays on the device where they are; a branch for one platform has that platform's way alone.

    Attributes:
        native_tiles: whether what travels is to keep an accelerator's tiles whole.
    """

    native_tiles: ClassVar[bool] = True

    @abc.abstractmethod
    def form(self, op: SpectralMap, dtype: Any) -> SpectralMap:
        """Give the map that runs on matrices of ``dtype`` in place of ``op``."""

    def reads(self, op: SpectralMap | MatrixOp, dtype: Any) -> Any:
        """Say to which dtype ``op`` rounds matrices of ``dtype`` first of all."""
        return self.form(op, dtype).reads(dtype) if isinstance(op, SpectralMap) else dtype

    @abc.abstractmethod
    def run(self, op: SpectralMap | MatrixOp, works: Sequence[Work], *, temporary: bool = False) -> list[Done]:
        """Map every array, as `Placement.run`; ``temporary``: the arrays may be overwritten."""


def run_by_platform(
    works: Sequence[Work],
    cpu: Callable[[Sequence[Work]], list[Done]],
    default: Callable[[Sequence[Work]], list[Done]],
) -> list[Done]:
    """Run matrices one way in programs for a CPU and another way in all others: a compiled program has its own alone.

    Only for spectral maps, which take the matrices alone. JAX's default backend decides nothing, for it says nothing of
    programs that are compiled for another platform.
    """
    if not works:
        return []

    def branch(run: Callable[[Sequence[Work]], list[Done]]) -> Callable[[list[Array]], list[Done]]:
        """Make one platform's function of the arrays."""
        return lambda arrays: run([w._replace(array=x) for w, x in zip(works, arrays, strict=True)])

    return lax.platform_dependent([w.array for w in works], cpu=branch(cpu), default=branch(default))
