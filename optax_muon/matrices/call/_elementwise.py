"""Rules of primitives that act entry by entry, and of sums and maxima."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from optax_muon.matrices.call._rules import Walk, rule, shape_of, source_of
from optax_muon.matrices.call._value import Dims, Place, Value, View, axes_of, data, merged, repeated

# They change nothing that an axis could notice: what is known of an output's axes stays known.
SAME = [
    "convert_element_type",
    "copy",
    "copy_p",
    "neg",
    "real",
    "imag",
    "conj",
    "name",
    "reduce_precision",
    "sharding_constraint",
    "optimization_barrier",
    "reshard",
    "pvary",
    "device_put",
    "layout_constraint",
    "stop_gradient",
    "with_memory_space_constraint",
    # Between devices: every shard keeps its axes.
    "psum",
    "psum_invariant",
    "pmax",
    "pmin",
    "ppermute",
    "pbroadcast",
    "reduced_vary_cast",
    "unreduced_psum",
]
UNARY = [
    "exp",
    "exp2",
    "log",
    "log1p",
    "log2",
    "expm1",
    "tanh",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "asinh",
    "acosh",
    "atanh",
    "logistic",
    "erf",
    "erfc",
    "erf_inv",
    "sqrt",
    "rsqrt",
    "cbrt",
    "integer_pow",
    "square",
    "abs",
    "sign",
    "floor",
    "ceil",
    "round",
    "is_finite",
    "not",
    "lgamma",
    "digamma",
    "one_minus_square",
]
BINARY = [
    "add",
    "add_any",
    "sub",
    "mul",
    "div",
    "rem",
    "pow",
    "max",
    "min",
    "atan2",
    "nextafter",
    "complex",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "and",
    "or",
    "xor",
    "select_n",
    "clamp",
    "shift_left",
    "shift_right_logical",
    "shift_right_arithmetic",
]
CHOOSING = {"mul", "div", "select_n"}


@rule(*SAME)
def same(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Pass values on."""
    return ins[: len(eqn.outvars)]


@rule(*UNARY)
def unary(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Map entries: a scaled value is no product's term any more."""
    value = ins[0]
    if value.weight:
        return [value]
    views = tuple(view for view in value.views if view.kind == "output")
    return [dataclasses.replace(value, views=views, one_hot=False, exponential=eqn.primitive.name == "exp")]


@rule(*BINARY)
def binary(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Let entries meet: weights among themselves stay a weight; a weight that meets data is a vector there."""
    name, out = eqn.primitive.name, shape_of(eqn.outvars[0])
    if name in CHOOSING:
        walk.record.meets(ins)
    wide = [_broadcast(walk, value, shape_of(var), out, place, eqn) for value, var in zip(ins, eqn.invars, strict=True)]
    known = [value for value in wide if not value.constant]
    if not known:
        return [Value(one_hot=name == "eq" and _compares_integers(eqn))]
    weights, others = [v for v in known if v.weight], [v for v in known if not v.weight]
    if not others:
        return [Value(merged(view for value in weights for view in value.views), weight=True)]
    if weights and name in ("mul", "div") and all(_is_measure(v, var) for v, var in zip(wide, eqn.invars, strict=True)):
        return [Value(merged(view for value in weights for view in value.views), weight=True)]
    # What joins a residual stream goes on: without this the last matrix of a bare block would pass for a head.
    if name in ("add", "add_any") and len(out) > 1:
        reaching = [value.products for value in others if value.products]
        if len(reaching) == 2 and reaching[0] != reaching[1]:
            walk.record.residual |= reaching[0] | reaching[1]
    if name == "mul":
        note_weighing(walk, wide, [(i, i) for i in range(len(out))])
    # Multiplied by a constant a scaled value stays a term of a sum.
    keeps = ("output", "scaled") if name == "mul" and len(known) == 1 else ("output",)
    views = [view for value in others for view in value.views if view.kind in keeps]
    for value in weights:
        walk.record.entries(place, value, source_of(eqn))
        views += [view._replace(kind="scaled") for view in value.views] if name == "mul" else []
    made = data(known, views, one_hot=name == "eq" and _compares_integers(eqn))
    if name == "div" and wide[0].exponential:
        made = dataclasses.replace(made, shares=made.shares | wide[0].products)
    # An input that is added to what was made of it is a state of the model's width, as in a block that is traced alone.
    if name in ("add", "add_any") and any(value.products for value in others):
        rows = [value.raw for value in others if not value.computed]
        made = dataclasses.replace(made, stream=made.stream.union(*rows))
    return [made]


def _is_measure(value: Value, var: Any) -> bool:
    """Tell a weight, or a number that was computed, as the spectral norm by which a weight is divided."""
    return value.weight or value.constant or (value.computed and math.prod(shape_of(var)) == 1)


def note_weighing(walk: Walk, ins: Sequence[Value], pairs: Sequence[tuple[int, int]]) -> None:
    """Note shares that weigh the results of matrices along the axis that numbers these: a router that mixes softly."""
    swapped = [(b, a) for a, b in pairs]
    for shares, weighed, met in ((ins[0], ins[1], pairs), (ins[1], ins[0], swapped)):
        for place in shares.shares & shares.products:
            made = [theirs for mine, theirs in met if axes_of(v.dims[mine] for v in shares.views if v.kind == "output")]
            views = [view for view in weighed.views if view.kind == "output"]
            axes = {(view.param, axis) for view in views for axis in axes_of(view.dims[dim] for dim in made)}
            walk.record.weighing.setdefault(place, set()).update(axes)


def _broadcast(walk: Walk, value: Value, old: tuple[int, ...], new: tuple[int, ...], place: Place, eqn: Any) -> Value:
    """Stretch sides of one, which equations may leave to their partner; a scalar takes its partner's rank."""
    if old == new or not value.views:
        return value

    def change(dims: Dims) -> Dims:
        if not old:
            return tuple(repeated(n) for n in new)
        return tuple(dim if a == b else repeated(b) for dim, a, b in zip(dims, old, new, strict=True))

    return walk.mapped(value, change, place, eqn)


def _compares_integers(eqn: Any) -> bool:
    return all(jnp.issubdtype(var.aval.dtype, jnp.integer) for var in eqn.invars)


@rule("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor")
def reduction(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Leave dimensions out; a sum of data times a weight is a product."""
    value, gone = ins[0], set(eqn.params["axes"])
    if eqn.primitive.name == "reduce_sum" and not value.weight:
        for view in (view for view in value.views if view.kind == "scaled"):
            summed = [dim for i, dim in enumerate(view.dims) if i in gone]
            free = [dim for i, dim in enumerate(view.dims) if i not in gone]
            if any(factor.axes for dim in summed for factor in dim) and len(walk.record.shapes[view.param]) > 1:
                parts: Any = {"reduction": summed, "output": free}
                walk.record.use(place, view, "product", source_of(eqn), parts, "a sum of entrywise products")

    def change(dims: Dims) -> Dims:
        return tuple(dim for i, dim in enumerate(dims) if i not in gone)

    if value.weight:  # a summed axis is not one of which an entry was taken
        return [Value(tuple(_summed(view, gone, eqn.primitive.name) for view in value.views), weight=True)]
    made, _ = value.mapped(change)
    return [dataclasses.replace(made, one_hot=False)]


def _summed(view: View, gone: set[int], name: str) -> View:
    left = tuple(dim for i, dim in enumerate(view.dims) if i not in gone)
    axes = set(axes_of(view.dims)) - set(axes_of(left)) if name == "reduce_sum" else set()
    return view._replace(dims=left, summed=view.summed | axes)


@rule("argmax", "argmin")
def ranked(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Rank: what products made of this value is remembered."""
    return [dataclasses.replace(data(ins), ranked=ins[0].ranked | ins[0].products)]


@rule("top_k", "approx_top_k", "sort")
def ranking(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Rank and keep values too."""
    # Unlike argmax it hands values on too, which weigh what the ranking has chosen: both make a router.
    value = data(ins)
    for weight in ins:
        walk.record.entries(place, weight, source_of(eqn))
    return [dataclasses.replace(value, ranked=value.ranked | value.products)] * len(eqn.outvars)


@rule("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp")
def running(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Accumulate along a dimension; shapes stay."""
    return [ins[0]]
