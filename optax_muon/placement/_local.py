"""On the device where the arrays are: like matrices joined in buckets, and looped over or batched."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence

import jax
from jaxtyping import Array

from optax_muon.linalg import MatrixOp, SpectralMap
from optax_muon.linalg._map_stack import after, map_stack, split_stack
from optax_muon.placement._buckets import (
    Mapped,
    Member,
    Size,
    Stack,
    buckets,
    collect,
    cut,
    divide,
    join,
    join_limit,
    size_of,
    total_bytes,
)
from optax_muon.placement._on_accelerator import map_like
from optax_muon.placement._placement import Done, Placement, Work

# Buckets beyond this wait for the one before: the temporaries of as many bytes may be alive at once.
IN_FLIGHT_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Local(Placement):
    """Compute on the device where the arrays are: like matrices are joined in buckets and looped over or batched.

    A loop keeps the program small however deep the model is, and one matrix's temporaries alive at a time. A TPU or
    GPU takes large matrices one at a time, few like ones without joining them, and small ones in batches.

    Args:
        max_bytes: stacks are joined up to this size; 0 joins nothing. None: 256 MiB for matrices up to 16 MiB each, an
            eighth of all bytes for larger ones.
        temporary: the arrays are temporaries that may be overwritten; for other placements.
    """

    max_bytes: int | None = None
    temporary: bool = False

    def __post_init__(self):
        """Raise on a negative size."""
        if self.max_bytes is not None and self.max_bytes < 0:
            raise ValueError(f"Local: max_bytes must be >= 0, not {self.max_bytes}")

    def run(self, op: SpectralMap | MatrixOp, works: Sequence[Work]) -> list[Done]:
        """Map every array."""
        cuts = [cut(work) for work in works]
        stacks = [stack for mine in cuts for stack in mine]
        sizes = [size_of(stack) for stack in stacks]
        limit = join_limit(sizes) if self.max_bytes is None else self.max_bytes
        found = buckets(sizes, merge_transposes=op.commutes_with_transpose, max_bytes=limit)
        if isinstance(op, SpectralMap):
            results = self._map_all(op, found, [stack.matrices for stack in stacks], sizes)
        else:
            results = self._run_in_order(op, found, stacks, sizes)
        spans = itertools.pairwise(itertools.accumulate([len(mine) for mine in cuts], initial=0))
        return [collect(work, [results[i] for i in range(*span)]) for work, span in zip(works, spans, strict=True)]

    def _map_all(
        self, op: SpectralMap, found: Sequence[Sequence[Member]], stacks: Sequence[Array], sizes: Sequence[Size]
    ) -> dict[int, Mapped]:
        """Map all buckets the way that is fast on the platform; a compiled program has its own platform's way alone."""
        if not stacks:
            return {}
        # Like matrices in whichever bucket: of more than a few the program must not hold each by itself.
        alike: Counter[tuple[int, int]] = Counter()
        for bucket in found:
            alike[_kind(bucket, sizes)] += sum(sizes[member.index].shape[0] for member in bucket)

        def in_order(stacks: Sequence[Array]) -> list[Array]:
            done = self._run_in_order(op, found, [Stack(x, (), None, {}) for x in stacks], sizes)
            return [done[i].matrices for i in range(len(stacks))]

        def accelerated(stacks: Sequence[Array]) -> list[Array]:
            done: dict[int, Array] = {}
            for bucket in found:
                members = [stacks[member.index] for member in bucket]
                inner = op.on_accelerator(members[0].dtype)
                results = map_like(inner, members, _turns(bucket), alike[_kind(bucket, sizes)])
                done.update(zip((member.index for member in bucket), results, strict=True))
            return [done[i] for i in range(len(stacks))]

        results = jax.lax.platform_dependent(list(stacks), cpu=in_order, default=accelerated)
        return {i: Mapped(x) for i, x in enumerate(results)}

    def _run_in_order(
        self,
        op: SpectralMap | MatrixOp,
        found: Sequence[Sequence[Member]],
        stacks: Sequence[Stack],
        sizes: Sequence[Size],
    ) -> dict[int, Mapped]:
        """Compute bucket after bucket, of which a few may be in flight together."""
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
            done = self._compute(op, bucket, members)
            results.update(zip((member.index for member in bucket), done, strict=True))
            # One stands for all: they are parts of one buffer.
            last = done[-1].matrices
        return results

    def _compute(self, op: SpectralMap | MatrixOp, bucket: Sequence[Member], stacks: Sequence[Stack]) -> list[Mapped]:
        """Join the stacks of a bucket, each (count, m, n) or (count, n, m), compute them, and divide the results."""
        turns = _turns(bucket)
        joined = join([stack.transposed if turn else stack for stack, turn in zip(stacks, turns, strict=True)])
        reuse = self.temporary or len(stacks) > 1
        y, carry, info = map_stack(op, joined.matrices, joined.carry, joined.keys, joined.others, reuse=reuse)
        counts = [stack.matrices.shape[0] for stack in stacks]
        matrices, learned = split_stack(y, counts), divide((carry, info), counts)
        return [Mapped(x.mT if turn else x, *rest) for x, turn, rest in zip(matrices, turns, learned, strict=True)]


def _turns(bucket: Sequence[Member]) -> list[bool]:
    """Say which members enter transposed: only where both orientations meet, for a map turns a tall matrix itself."""
    both = len({member.transposed for member in bucket}) > 1
    return [both and member.transposed for member in bucket]


def _kind(bucket: Sequence[Member], sizes: Sequence[Size]) -> tuple[int, int]:
    """Sides of a bucket's matrices, the shorter first."""
    m, n = sorted(sizes[bucket[0].index].shape[1:])
    return m, n
