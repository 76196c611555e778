"""How many bytes a worker sends, read from what is traced, without devices."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

# On a ring of N: an all-gather passes N - 1 messages on, an all-reduce twice (N - 1) / N of its array.
PER_MESSAGE: dict[str, Callable[[int], float]] = {
    "all_gather": lambda n: n - 1.0,
    "psum": lambda n: 2 * (n - 1) / n,
    "ppermute": lambda n: 1.0,
}


class Sent(NamedTuple):
    """Bytes that one worker sends in a step.

    Attributes:
        each: in every step.
        meeting: in those steps besides at which workers meet.
    """

    each: float
    meeting: float

    def after(self, steps: Any, period: int) -> Any:
        """Give the bytes of some steps."""
        return self.each * steps + self.meeting * (steps // period)


def sent(step: Callable[..., Any], axis_name: str, count: int, *args: PyTree) -> Sent:
    """Trace one worker's step for ``count`` workers, all of whose arguments are its own, and count."""
    mesh = AbstractMesh((count,), (axis_name,), axis_types=(AxisType.Auto,))

    def own(*args: PyTree) -> PyTree:
        return jax.tree.map(lambda x: x[None], step(*jax.tree.map(lambda x: x[0], args)))

    mapped = jax.shard_map(own, mesh=mesh, in_specs=P(axis_name), out_specs=P(axis_name), check_vma=False)
    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype), args)
    return _count(jax.make_jaxpr(mapped)(*stacked).jaxpr, count)


def _count(jaxpr: Any, count: int) -> Sent:
    each, meeting = 0.0, 0.0
    for eqn in jaxpr.eqns:
        kind = next((name for name in PER_MESSAGE if eqn.primitive.name.startswith(name)), None)
        if kind:
            each += PER_MESSAGE[kind](count) * sum(math.prod(x.aval.shape) * x.aval.dtype.itemsize for x in eqn.invars)
            continue
        inside = [_count(getattr(inner, "jaxpr", inner), count) for inner in _inner(eqn.params)]
        if eqn.primitive.name == "cond":
            # What one branch alone sends is sent now and then.
            meeting += max((one.each + one.meeting for one in inside), default=0.0)
        else:
            times = eqn.params.get("length", 1)
            each += times * sum(one.each for one in inside)
            meeting += times * sum(one.meeting for one in inside)
    return Sent(each, meeting)


def _inner(params: dict[str, Any]) -> list[Any]:
    """List the programs inside an operation."""
    found = [x for value in params.values() for x in (value if isinstance(value, tuple | list) else (value,))]
    return [x for x in found if hasattr(x, "eqns") or hasattr(getattr(x, "jaxpr", None), "eqns")]
