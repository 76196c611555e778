"""One matrix after another, in loops over joined stacks: maps on a CPU, and operations with state on every platform."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from optax_muon.linalg import MatrixOp, SpectralMap
from optax_muon.linalg._map_stack import after, map_stack, split_on_cpu, split_stack
from optax_muon.placement._buckets import (
    Mapped,
    Member,
    Size,
    Stack,
    divide,
    join,
    run_in_buckets,
    total_bytes,
)
from optax_muon.placement._placement import Done, Here, Work

# Buckets beyond this wait for the one before: the temporaries of as many bytes may be alive at once.
IN_FLIGHT_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class InOrder(Here):
    """Compute bucket after bucket, of which a few may be in flight together, and in a bucket one matrix after another.

    Args:
        max_bytes: see `Local`.
    """

    max_bytes: int | None = None
    native_tiles: ClassVar[bool] = False

    def form(self, op: SpectralMap, dtype: Any) -> SpectralMap:
        """Give the map that a CPU runs."""
        del dtype
        return op.on_cpu()

    def run(self, op: SpectralMap | MatrixOp, works: Sequence[Work], *, temporary: bool = False) -> list[Done]:
        """Map every array."""
        # Maps get here in programs for a CPU alone; an operation with state finds the platform itself.
        own = op.on_cpu() if isinstance(op, SpectralMap) else op

        def compute(found: Sequence[Sequence[Member]], stacks: Sequence[Stack], sizes: Sequence[Size]):
            """Map all buckets, in an order that the compiler keeps."""
            results: dict[int, Mapped] = {}
            in_flight, last = 0, None
            for bucket in found:
                members = [stacks[member.index] for member in bucket]
                nbytes = total_bytes([sizes[member.index] for member in bucket])
                in_flight += nbytes
                if in_flight > IN_FLIGHT_BYTES:
                    waited = after([stack.matrices for stack in members], last)
                    members = [stack._replace(matrices=x) for stack, x in zip(members, waited, strict=True)]
                    in_flight = nbytes
                done = _map_bucket(own, bucket, members, reuse=temporary or len(bucket) > 1)
                results.update(zip((member.index for member in bucket), done, strict=True))
                # One stands for all: they are parts of one buffer.
                last = done[-1].matrices
            return results

        return run_in_buckets(works, compute, merge_transposes=own.commutes_with_transpose, max_bytes=self.max_bytes)


def _map_bucket(
    op: SpectralMap | MatrixOp, bucket: Sequence[Member], stacks: Sequence[Stack], *, reuse: bool
) -> list[Mapped]:
    """Join the stacks of a bucket, each (count, m, n) or (count, n, m), compute them, and divide the results."""
    # Only where both orientations meet, for a map turns a tall matrix itself.
    both = len({member.transposed for member in bucket}) > 1
    turned = [both and member.transposed for member in bucket]
    joined = join([stack.transposed if turn else stack for stack, turn in zip(stacks, turned, strict=True)])
    y, carry, info = map_stack(op, joined.matrices, joined.carry, joined.keys, joined.others, reuse=reuse)
    counts = [stack.matrices.shape[0] for stack in stacks]
    split = split_on_cpu if isinstance(op, SpectralMap) else split_stack
    matrices, learned = split(y, counts), divide((carry, info), counts)
    return [Mapped(x.mT if turn else x, *rest) for x, turn, rest in zip(matrices, turned, learned, strict=True)]
