"""Rules of primitives that move entries and compute nothing."""

import math
from collections.abc import Sequence
from typing import Any

from optax_muon.matrices.call._record import Bounds
from optax_muon.matrices.call._rules import Walk, rule, shape_of, source_of
from optax_muon.matrices.call._value import Dims, Place, Value, axes_of, data, irregular, merged, regrouped, repeated


@rule("reshape")
def reshape(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Regroup the factors of every dimension."""
    return [walk.mapped(ins[0], lambda dims: regrouped(dims, shape_of(eqn.outvars[0])), place, eqn)]


@rule("squeeze")
def squeeze(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Leave dimensions of one out."""
    gone = eqn.params["dimensions"]
    return [walk.mapped(ins[0], lambda dims: tuple(x for i, x in enumerate(dims) if i not in gone), place, eqn)]


@rule("expand_dims")
def expand_dims(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Put dimensions of one in."""
    return reshape(walk, eqn, ins, place)


@rule("transpose")
def transpose(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Reorder dimensions."""
    return [walk.mapped(ins[0], lambda dims: tuple(dims[i] for i in eqn.params["permutation"]), place, eqn)]


@rule("rev")
def rev(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Turn the order of entries round, which no axis notices."""
    return [ins[0]]


@rule("broadcast_in_dim")
def broadcast_in_dim(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Repeat along new dimensions."""
    shape, where = eqn.params["shape"], eqn.params["broadcast_dimensions"]

    def change(dims: Dims) -> Dims:
        made = [repeated(n) for n in shape]
        for old, new in enumerate(where):
            made[new] = dims[old] or made[new]
        return tuple(made)

    return [walk.mapped(ins[0], change, place, eqn)]


@rule("tile")
def tile(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Repeat along dimensions that are there: the outer factor is a repetition."""
    reps = eqn.params["reps"]

    def change(dims: Dims) -> Dims:
        return tuple((*repeated(n), *dim) for n, dim in zip(reps, dims, strict=True))

    return [walk.mapped(ins[0], change, place, eqn)]


@rule("pad", "all_gather", "all_gather_invariant", "reduce_scatter", "reduce_window_max", "reduce_window_min",
      "reduce_window_sum", "reduce_window")  # fmt: skip
def pad(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Change lengths: the axes stay, the strides do not."""
    shape = shape_of(eqn.outvars[0])
    if len(shape) != len(shape_of(eqn.invars[0])):  # gathered along a new dimension
        return unknown_layout(walk, eqn, ins, place)
    return [walk.mapped(ins[0], lambda dims: resized(dims, shape_of(eqn.invars[0]), shape), place, eqn)]


def unknown_layout(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Keep what is known of data; a weight whose dimensions cannot be followed is opaque."""
    for value in ins:
        if value.weight:
            walk.record.opaque(
                place, value.views, source_of(eqn), f"its axes cannot be followed through {eqn.primitive}"
            )
    return [data(ins)] * len(eqn.outvars)


def resized(dims: Dims, old: tuple[int, ...], new: tuple[int, ...]) -> Dims:
    """Dimensions whose lengths changed from ``old`` to ``new``."""
    return tuple(dim if a == b else irregular(dim, b) for dim, a, b in zip(dims, old, new, strict=True))


def piece(walk: Walk, value: Value, eqn: Any, dim: int, bounds: tuple[int, int, int], place: Place) -> Value:
    """Take ``start:stop:step`` of one dimension, and note the cut of a product's output."""
    start, stop, step = (int(x) for x in bounds)
    length = -(-(stop - start) // step)
    cut: Bounds = (start, stop)
    for view in value.views if step == 1 else ():
        walk.record.cut(view, dim, cut)

    def change(dims: Dims) -> Dims:
        factors = dims[dim]
        if length > 1 and len(factors) == 1 and factors[0].stride >= 0:
            kept: Any = (factors[0]._replace(stride=factors[0].stride * step, size=length),)
        else:
            kept = irregular(factors, length)
        return (*dims[:dim], kept, *dims[dim + 1 :])

    return walk.mapped(value, change, place, eqn)


@rule("slice")
def slice_(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Take pieces at places that are known."""
    value, shape = ins[0], shape_of(eqn.invars[0])
    strides = eqn.params["strides"] or (1,) * len(shape)
    bounds = zip(eqn.params["start_indices"], eqn.params["limit_indices"], strides, strict=True)
    for dim, (start, stop, step) in enumerate(bounds):
        if (start, stop, step) != (0, shape[dim], 1):
            value = piece(walk, value, eqn, dim, (start, stop, step), place)
    return [value]


@rule("split")
def split(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Cut into consecutive pieces."""
    made, start = [], 0
    for size in eqn.params["sizes"]:
        made.append(piece(walk, ins[0], eqn, eqn.params["axis"], (start, start + size, 1), place))
        start += size
    return made


@rule("unstack")
def unstack(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Take every entry of one dimension."""
    dim = eqn.params["axis"]

    def without(dims: Dims) -> Dims:
        return dims[:dim] + dims[dim + 1 :]

    entries = (piece(walk, ins[0], eqn, dim, (i, i + 1, 1), place) for i in range(len(eqn.outvars)))
    return [walk.mapped(entry, without, place, eqn) for entry in entries]


@rule("stack")
def stack(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Put arrays beside each other along a new dimension."""
    dim, new = eqn.params["axis"], repeated(len(ins))

    def along(dims: Dims) -> Dims:
        return (*dims[:dim], new, *dims[dim:])

    wide = [walk.mapped(value, along, place, eqn) for value in ins]
    if all(value.weight or value.constant for value in ins):
        return [Value(merged(view for value in wide for view in value.views), weight=True)]
    for value in ins:
        walk.record.entries(place, value, source_of(eqn))
    _rejoin(walk, ins)
    return [data(ins, (view for value in wide if not value.weight for view in value.views if view.kind == "output"))]


@rule("dynamic_slice")
def dynamic_slice(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Take a piece at a place that is known only when the program runs."""
    value, new = ins[0], tuple(eqn.params["slice_sizes"])
    value = walk.mapped(value, lambda dims: resized(dims, shape_of(eqn.invars[0]), new), place, eqn)
    return [value if value.weight else data([value, *ins[1:]], value.views)]


@rule("dynamic_update_slice")
def dynamic_update_slice(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Write a piece into an array, as a cache does: data, whichever of the two is."""
    for value in ins[:2]:
        walk.record.entries(place, value, source_of(eqn))
    return [data(ins)]


@rule("concatenate")
def concatenate(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Put arrays beside each other; pieces of one output that meet again were no separate matrices."""
    dim, length = eqn.params["dimension"], shape_of(eqn.outvars[0])[eqn.params["dimension"]]

    def grown(dims: Dims) -> Dims:
        return (*dims[:dim], irregular(dims[dim], length), *dims[dim + 1 :])

    weights = [value for value in ins if value.weight]
    if weights and all(value.weight or value.constant for value in ins):
        views = merged(view._replace(dims=grown(view.dims)) for value in weights for view in value.views)
        return [Value(views, weight=True)]
    for value in weights:
        walk.record.entries(place, value, source_of(eqn))
    # Halves of a rotary embedding come from one output and meet again; query, key and value do not.
    _rejoin(walk, ins)
    outputs = (view for value in ins for view in value.views if not value.weight and view.kind == "output")
    return [data(ins, (view._replace(dims=grown(view.dims)) for view in outputs))]


def _rejoin(walk: Walk, ins: Sequence[Value]) -> None:
    """Note the output axes whose pieces, put together, are the whole axis again."""
    lengths: dict[tuple[int, int], list[int]] = {}
    for view in (view for value in ins for view in value.views if view.kind == "output"):
        for axis in axes_of(view.dims):
            # Halves of a rotary embedding of one of several fused projections are not the whole.
            part = math.prod(factor.size for dim in view.dims for factor in dim if axis in factor.axes)
            lengths.setdefault((view.param, axis), []).append(part)
    for (param, axis), parts in lengths.items():
        if len(parts) > 1 and sum(parts) == walk.record.shapes[param][axis]:
            walk.record.rejoined.add((param, axis))


@rule("gather")
def gather(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Look rows up: a table, unless whole matrices are picked (experts)."""
    value, indices = ins[0], ins[1]
    shape, out, sizes = shape_of(eqn.invars[0]), shape_of(eqn.outvars[0]), eqn.params["slice_sizes"]
    numbers = eqn.params["dimension_numbers"]
    walk.record.meets(ins)
    # Not `start_index_map`, which may name every axis (a vmapped lookup): what is shorter than it was is picked.
    picked = [i for i in range(len(shape)) if sizes[i] != shape[i]]
    kept = [i for i in range(len(shape)) if i not in {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}]

    def change(dims: Dims) -> Dims:
        made = [repeated(n) for n in out]
        for old, new in zip(kept, numbers.offset_dims, strict=True):
            made[new] = made[new] if old in picked else dims[old]
        return tuple(made)

    if not value.weight:
        return [data(ins, walk.mapped(value, change, place, eqn).views)]
    # One row for one index, or whole matrices for each (experts picked by number): a choice among weights, no table.
    features = [i for i in kept if i not in picked and shape[i] > 1]
    if len(features) >= 2 or shape_of(eqn.invars[1])[:-1] == ():
        return [walk.mapped(value, change, place, eqn)]
    note = "" if indices.given or indices.computed else "constant indices"
    for view in value.views:
        parts: Any = {"index": [view.dims[i] for i in picked], "feature": [view.dims[i] for i in features]}
        walk.record.use(place, view, "table", source_of(eqn), parts, note)
    return [data(ins, computed=True, products=frozenset())]
