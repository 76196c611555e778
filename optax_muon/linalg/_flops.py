"""Arithmetic of a function, read from its trace: products only, loops counted by their trips."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from optax_muon.linalg import MatrixOp, SpectralMap


def count_flops(function: Callable[..., Any], *args: Any) -> float:
    """Count the floating-point operations of every matrix product that ``function(*args)`` carries out.

    Unlike XLA's cost analysis it multiplies a loop's body by its trips. Inside a `jax.shard_map` it counts one
    device's share. A ``while`` of unknown length counts once.
    """
    return _flops(jax.make_jaxpr(function)(*args).jaxpr)


def matrix_flops(op: SpectralMap | MatrixOp, m: int, n: int, dtype: Any) -> float:
    """Count what a map costs on one (m, n) matrix; one without products counts as one pass.

    An operation with state is taken for five plain steps unless it says that every call costs the same: its cost may
    depend on a state that is not at hand, and the planner asks only whether dividing the work pays.
    """
    if m * n == 0:
        return 0.0
    x = jax.ShapeDtypeStruct((m, n), dtype)
    if isinstance(op, SpectralMap):
        return count_flops(op.apply, x) + m * n
    if not op.same_cost:
        return plain_flops(m, n)
    carry = jax.eval_shape(lambda: op.init((m, n), dtype))

    def called(x: Any, carry: Any, others: Any) -> Any:
        return op.apply(x, carry, **others)[:2]

    return count_flops(called, x, carry, dict.fromkeys(op.takes, x)) + m * n


def plain_flops(m: int, n: int, steps: int = 5) -> float:
    """FLOPs of ``steps`` plain quintic Newton-Schulz steps, the yardstick: ``steps (4 m^2 n + 2 m^3)``, m <= n."""
    m, n = min(m, n), max(m, n)
    return float(steps * (4 * m * m * n + 2 * m**3))


def _flops(jaxpr: Jaxpr) -> float:
    """Count a trace and the traces inside its equations."""
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            left: Any = equation.invars[0].aval
            result: Any = equation.outvars[0].aval
            total += 2.0 * math.prod(left.shape[axis] for axis in contracted) * math.prod(result.shape)
        elif name == "cond":  # whichever branch is taken; on a mesh they belong to different devices
            total += max(_flops(branch.jaxpr) for branch in params["branches"])
        else:
            trips = params["length"] if name == "scan" else 1
            total += trips * sum(_flops(inner) for value in params.values() for inner in _inner(value))
    return total


def _inner(value: Any) -> list[Jaxpr]:
    """Give the trace that a parameter of an equation holds, if it is one."""
    if isinstance(value, ClosedJaxpr):
        return [value.jaxpr]
    return [value] if isinstance(value, Jaxpr) else []
