"""Several maps as one, so that a chain of them pays one exchange between devices."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float, PyTree

from optax_muon.linalg._arithmetic import accumulator_dtype
from optax_muon.linalg._inputs import require_inexact
from optax_muon.linalg._map import Info, MatrixOp, SpectralMap


@dataclasses.dataclass(frozen=True, init=False)
class Composed(MatrixOp):
    """Apply maps and operations one after another, the first one first.

    Use it instead of two transforms in a chain: it is lifted once, so matrices are exchanged between devices once.
    Between them the matrix stays in float32 or wider, so low-precision input is rounded once, at the end. Nothing is
    returned of a member's dual value, which belongs to its own input.

    Args:
        *ops: maps and operations; at most one of them may need random keys.

    Raises:
        ValueError: for no ops at all, or for two that need random keys.

    State: that of the members.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> op = om.linalg.Composed(om.linalg.SVDPolar(), om.linalg.SVDPolar())
        >>> y, _, _ = op.apply(2 * jnp.eye(2), op.init((2, 2), jnp.float32))
        >>> y.diagonal().tolist()
        [1.0, 1.0]
    """

    ops: tuple[SpectralMap | MatrixOp, ...]

    def __init__(self, *ops: SpectralMap | MatrixOp):
        """Raise on an empty composition, and two members that would draw the same random numbers."""
        if not ops:
            raise ValueError("Composed: ops must hold at least one map")
        # There is one key per matrix and step; two members would draw the same numbers from it, and splitting it here
        # would change the draws of a member that is composed later.
        if sum(_needs_key(op) for op in ops) > 1:
            raise ValueError(f"Composed: at most one of ops may need random keys, not {ops}")
        # ``Composed(a, b)`` takes its members by position, which a frozen dataclass's own __init__ cannot.
        object.__setattr__(self, "ops", ops)

    @property
    def commutes_with_transpose(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every member does."""
        return all(op.commutes_with_transpose for op in self.ops)

    @property
    def commutes_with_padding(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether every member does."""
        return all(op.commutes_with_padding for op in self.ops)

    @property
    def needs_key(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether a member does."""
        return any(_needs_key(op) for op in self.ops)

    @property
    def takes(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the members do."""
        return tuple(dict.fromkeys(name for op in self.ops for name in _takes(op)))

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Make the state of every member, in the dtype that they work in."""
        # Members see float32 or wider, so their state must have that dtype, not the gradient's.
        wide = accumulator_dtype(dtype)
        return tuple(op.init(shape, wide) if isinstance(op, MatrixOp) else () for op in self.ops)

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Map by every member in turn; the result has the dtype of ``x``."""
        self.check_others(x, others)
        require_inexact(x, "Composed")
        y, after = x.astype(accumulator_dtype(x.dtype)), []
        for op, memory in zip(self.ops, carry, strict=True):
            if isinstance(op, SpectralMap):
                y = op.apply(y)
            else:
                given = {name: others[name] for name in op.takes}
                y, memory, _ = op.apply(y, memory, key=key if op.needs_key else None, **given)
            after.append(memory)
        # No dual: a member's <x, y> pairs its own input with its own output, not ours.
        return y.astype(x.dtype), tuple(after), Info()


def _needs_key(op: SpectralMap | MatrixOp) -> bool:
    """Tell whether a member draws random numbers; a `SpectralMap` never does."""
    return isinstance(op, MatrixOp) and op.needs_key


def _takes(op: SpectralMap | MatrixOp) -> tuple[str, ...]:
    """Name the further matrices that a member takes; a `SpectralMap` takes none."""
    return op.takes if isinstance(op, MatrixOp) else ()
