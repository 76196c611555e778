"""On the device where the arrays are: like matrices joined in buckets, and looped over or batched."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from optax_muon.linalg import MatrixOp, SpectralMap
from optax_muon.placement._in_order import InOrder
from optax_muon.placement._on_accelerator import OnAccelerator
from optax_muon.placement._placement import Done, Here, Placement, Work, run_by_platform


@dataclasses.dataclass(frozen=True)
class Local(Placement, Here):
    """Compute on the device where the arrays are: like matrices are joined in buckets and looped over or batched.

    A loop keeps the program small however deep the model is, and one matrix's temporaries alive at a time. A TPU or
    GPU takes large matrices one at a time, few like ones without joining them, and small ones in batches.

    Args:
        max_bytes: stacks are joined up to this size; 0 joins nothing. None: 256 MiB for matrices up to 16 MiB each, an
            eighth of all bytes for larger ones.
    """

    max_bytes: int | None = None

    def __post_init__(self):
        """Raise on a negative size."""
        if self.max_bytes is not None and self.max_bytes < 0:
            raise ValueError(f"Local: max_bytes must be >= 0, not {self.max_bytes}")

    def form(self, op: SpectralMap, dtype: Any) -> SpectralMap:
        """Give the map itself, which asks for its platform where it depends on it."""
        del dtype
        return op

    def run(self, op: SpectralMap | MatrixOp, works: Sequence[Work], *, temporary: bool = False) -> list[Done]:
        """Map every array; ``temporary``: the arrays may be overwritten."""
        in_order, together = InOrder(self.max_bytes), OnAccelerator(self.max_bytes)
        if not isinstance(op, SpectralMap):
            return in_order.run(op, works, temporary=temporary)

        def cpu(works: Sequence[Work]) -> list[Done]:
            return in_order.run(op, works, temporary=temporary)

        return run_by_platform(works, cpu=cpu, default=lambda works: together.run(op, works))
