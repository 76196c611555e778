"""One operation for small matrices and another for large ones."""

import dataclasses
from typing import Any

from jaxtyping import Array, Float, PyTree

from optax_muon.linalg._map import Info, MatrixOp, SpectralMap
from optax_muon.linalg.orthogonal._newton_schulz import NewtonSchulz


@dataclasses.dataclass(frozen=True)
class BySize(MatrixOp):
    """Apply ``large`` where the shorter side exceeds ``threshold``, else ``small``; shapes decide, nothing is traced.

    Use it where a sketch or a decomposition pays on a model's few large matrices alone.

    Args:
        threshold: of the shorter side, in entries; equal to it counts as small.
        large: an operation that pays on large matrices alone.
        small: for the others.

    State: that of ``large`` on large matrices.
    """

    threshold: int
    large: MatrixOp
    small: SpectralMap = NewtonSchulz()

    @property
    def needs_key(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the large one does."""
        return self.large.needs_key

    @property
    def takes(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the large one does."""
        return self.large.takes

    def init(self, shape: tuple[int, ...], dtype: Any) -> PyTree:
        """Make the state of the operation that a stack of this shape takes; none for ``small``."""
        return self.large.init(shape, dtype) if min(shape[-2:]) > self.threshold else ()

    def apply(
        self, x: Float[Array, "*batch m n"], carry: PyTree, *, key: Array | None = None, **others: Array
    ) -> tuple[Float[Array, "*batch m n"], PyTree, Info]:
        """Map every matrix of the stack."""
        self.check_others(x, others)
        if min(x.shape[-2:]) > self.threshold:
            return self.large.apply(x, carry, key=key, **others)
        return self.small.apply(x), carry, Info()
