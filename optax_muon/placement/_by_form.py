"""Work whose way depends on the platform as a whole: what travels, in which dtype, and how it is computed."""

from collections.abc import Callable, Sequence

from optax_muon.linalg import SpectralMap
from optax_muon.linalg._map_stack import Op
from optax_muon.placement._in_order import InOrder
from optax_muon.placement._local import Local
from optax_muon.placement._on_accelerator import OnAccelerator
from optax_muon.placement._placement import Done, Here, Work, run_by_platform


def run_by_form(op: Op, works: Sequence[Work], run: Callable[[Sequence[Work], Here], list[Done]]) -> list[Done]:
    """Run matrices in two branches, of which a program has one: CPUs and accelerators exchange and compute otherwise.

    Operations with state compute alike everywhere, and get one.

    Args:
        op: the operation.
        works: the matrices.
        run: maps them, and computes what is here by its second argument.
    """
    if not isinstance(op, SpectralMap):
        return run(works, Local())
    return run_by_platform(
        works, cpu=lambda works: run(works, InOrder()), default=lambda works: run(works, OnAccelerator())
    )
