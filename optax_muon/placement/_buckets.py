"""Which stacks of matrices run together on one device."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Stack(NamedTuple):
    """One stack as the plan sees it: shape (count, m, n) and dtype."""

    shape: tuple[int, int, int]
    dtype: Any

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Member(NamedTuple):
    """A stack's place in a run: its index in the given list, and whether it enters transposed."""

    index: int
    transposed: bool


def runs(
    stacks: Sequence[Stack], *, merge_transposes: bool, max_bytes: int | Callable[[Stack], int]
) -> list[list[Member]]:
    """Group stacks of like matrices into runs that are joined, computed and cut again.

    Members of a run have one matrix shape and dtype; with ``merge_transposes`` an (n, m) stack joins the (m, n) ones,
    wide side last. A run holds at most ``max_bytes`` (which may depend on the stack) unless a single stack is larger,
    which then runs alone and is never copied.
    """
    order: dict[tuple[Any, ...], list[list[Member]]] = {}
    filled: dict[tuple[Any, ...], int] = {}
    for index, stack in enumerate(stacks):
        _, m, n = stack.shape
        transposed = merge_transposes and m > n
        key = (n, m, stack.dtype) if transposed else (m, n, stack.dtype)
        groups = order.setdefault(key, [])
        limit = max_bytes(stack) if callable(max_bytes) else max_bytes
        if not groups or filled[key] + stack.nbytes > limit:
            groups.append([])
            filled[key] = 0
        groups[-1].append(Member(index, transposed))
        filled[key] += stack.nbytes
    return [group for groups in order.values() for group in groups]


def join_limit(stacks: Sequence[Stack], *, small: int = 256 << 20) -> Callable[[Stack], int]:
    """How large a run of such matrices may get, so that neither memory nor the program grows without need.

    Small matrices (up to a sixteenth of ``small`` each) are joined up to ``small`` bytes. Larger ones gain nothing in
    speed from company; they are joined up to an eighth of all bytes, which bounds the number of loops in the program
    by eight and a few however deep the model is, and the copies by an eighth of it.
    """
    eighth = sum(stack.nbytes for stack in stacks) // 8
    return lambda stack: small if stack.nbytes <= stack.shape[0] * (small // 16) else eighth
