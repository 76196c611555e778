"""Rules of loops, branches and calls: what is inside is walked."""

from typing import Any

from optax_muon.matrices.call._reshaping import resized
from optax_muon.matrices.call._rules import Walk, rule, shape_of
from optax_muon.matrices.call._value import Dims, Place, Value, joined, repeated

TURNS = 3
"""Turns of a loop until what its carry holds no longer changes; a weight reaches a carry's product in two."""


@rule("scan")
def scan(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Walk the body: the leading axis of what is scanned over numbers layers."""
    constants, carried = _counts(eqn)
    fixed, carry, rest = ins[:constants], ins[constants : constants + carried], ins[constants + carried :]
    slices = [walk.mapped(value, lambda dims: dims[1:], place, eqn) for value in rest]
    outs: list[Value] = []
    for _ in range(TURNS):
        outs = walk.run(eqn.params["jaxpr"], [*fixed, *carry, *slices], (*place, "scan"))
        met = [joined(a, b) for a, b in zip(carry, outs[:carried], strict=True)]
        if met == carry:
            break
        carry = met
    # A weight that a loop carries comes out as the last turn left it, not mixed with what went in.
    ends = [b if a.weight else joined(a, b) for a, b in zip(carry, outs[:carried], strict=True)]

    def stacked(length: int) -> Any:
        def change(dims: Dims) -> Dims:
            return (repeated(length), *dims)

        return change

    ys = zip(outs[carried:], eqn.outvars[carried:], strict=True)
    return ends + [walk.mapped(value, stacked(shape_of(var)[0]), place, eqn) for value, var in ys]


def _counts(eqn: Any) -> tuple[int, int]:
    """Numbers of constants and of carried values; JAX 0.12 keeps them as trees."""
    if "num_consts" in eqn.params:
        return eqn.params["num_consts"], eqn.params["num_carry"]
    constants, carried, _ = (len(list(part.vals)) for part in eqn.params["ft_in"].unpack())
    return constants, carried


@rule("while")
def while_(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Walk the body; the condition moves no data."""
    before, constants = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    fixed, carry = ins[before : before + constants], ins[before + constants :]
    for _ in range(TURNS):
        outs = walk.run(eqn.params["body_jaxpr"], [*fixed, *carry], (*place, "while"))
        met = [joined(a, b) for a, b in zip(carry, outs, strict=True)]
        if met == carry:
            break
        carry = met
    return carry


@rule("cond")
def cond(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Walk every branch."""
    ways = [walk.run(way, ins[1:], (*place, "cond", i)) for i, way in enumerate(eqn.params["branches"])]
    made = ways[0]
    for other in ways[1:]:
        made = [joined(a, b) for a, b in zip(made, other, strict=True)]
    return made


@rule("jit", "pjit", "call", "closed_call", "core_call", "core_closed_call", "composite", "remat", "checkpoint",
      "remat2", "custom_jvp_call", "custom_jvp_call_jaxpr", "custom_vjp_call", "custom_vjp_call_jaxpr",
      "custom_vmap_call", "custom_lin", "run_state")  # fmt: skip
def call(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Walk what is called."""
    return walk.run(called_trace(eqn), ins, (*place, eqn.primitive.name))


@rule("shard_map")
def shard_map(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Walk what every device does: the axes are those of the whole arrays, the lengths those of their shards."""
    body = getattr(called_trace(eqn), "jaxpr", called_trace(eqn))

    def local(value: Value, old: tuple[int, ...], new: tuple[int, ...]) -> Value:
        return walk.mapped(value, lambda dims: resized(dims, old, new), place, eqn)

    shards = [local(v, shape_of(a), shape_of(b)) for v, a, b in zip(ins, eqn.invars, body.invars, strict=True)]
    outs = walk.run(body, shards, (*place, "shard_map"))
    return [local(v, shape_of(a), shape_of(b)) for v, a, b in zip(outs, body.outvars, eqn.outvars, strict=True)]


def called_trace(eqn: Any) -> Any:
    """The trace that an equation calls."""
    return next(eqn.params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr", "call") if name in eqn.params)
