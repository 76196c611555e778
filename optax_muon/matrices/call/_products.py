"""Rules of products: contracted axes are reduction, axes of both sides batch, the rest output."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from optax_muon.matrices.call._elementwise import note_weighing
from optax_muon.matrices.call._record import Product
from optax_muon.matrices.call._rules import Walk, rule, shape_of, source_of
from optax_muon.matrices.call._value import Dims, Place, Value, axes_of, data, merged, repeated

LATENT = Value(given=True, computed=True)
"""A learned array that enters as data does: queries, tokens."""


@dataclasses.dataclass(frozen=True)
class Side:
    """The weight's side of a product: its contracted, batch and free dimensions, and where dimensions come out.

    Attributes:
        index: number of the operand.
        contracted: dimensions that are summed.
        batch: dimensions that both sides have.
        free: the others.
        out: dimension of the result -> dimension of the operand.
    """

    index: int
    contracted: Sequence[int]
    batch: Sequence[int]
    free: Sequence[int]
    out: Mapping[int, int]

    def outward(self, dims: Dims, shape: Sequence[int]) -> Dims:
        """Dimensions of the result, of this shape, that descend from the operand's."""
        return tuple(dims[self.out[i]] if i in self.out else repeated(n) for i, n in enumerate(shape))

    def kept(self, dims: Dims, shape: Sequence[int]) -> Dims:
        """The same where the other side changes nothing, so that what is contracted goes on."""
        (summed,) = (dims[i] for i in self.contracted)
        return tuple(dims[self.out[i]] if i in self.out else summed for i in range(len(shape)))


def product(walk: Walk, eqn: Any, ins: list[Value], place: Place, side: Side, known: Product, note: str = "") -> Value:
    """Note a product of a weight with something else, and give its result."""
    record, weight = walk.record, ins[side.index]
    others = [value for i, value in enumerate(ins) if i != side.index]
    shape, source = shape_of(eqn.outvars[0]), source_of(eqn)
    # It contracts what the forward pass has left free, and would tell every matrix the other way round.
    if "transpose(" in str(eqn.source_info.name_stack):
        return data(ins)
    constant = all(value.constant for value in others)
    table = any(value.one_hot for value in others)
    if constant and table and _square(eqn, side):  # an identity
        return Value(tuple(view._replace(dims=side.kept(view.dims, shape)) for view in weight.views), weight=True)
    for view in weight.views:
        parts: Any = {
            "index" if table else "reduction": [view.dims[i] for i in side.contracted],
            "batch": [view.dims[i] for i in side.batch],
            "feature" if table else "output": [view.dims[i] for i in side.free],
        }
        record.use(place, view, "table" if table else "constant" if constant else "product", source, parts, note)
    outputs = merged(view._replace(kind="output", dims=side.outward(view.dims, shape)) for view in weight.views)
    if constant and not table:  # the product of a weight and a constant is a weight
        return Value(tuple(view._replace(kind="weight") for view in outputs), weight=True)
    for value in others:
        record.followed |= value.products
        record.streams |= value.stream
    record.meets(others)
    first = not any(value.computed or value.weight for value in others)
    given = any(value.given for value in others)
    record.products[place] = dataclasses.replace(
        known,
        first=first and given,
        constant=first and not given,
        weights=len(weight.views),
        sources=frozenset().union(*(value.products for value in others)),
        raw=frozenset().union(*(value.raw for value in others)),
    )
    return Value(outputs, products=frozenset() if table else frozenset([place]), computed=True, given=True)


def _square(eqn: Any, side: Side) -> bool:
    """Tell whether the other side has as many rows as columns: an identity, no rows of indices."""
    shape = shape_of(eqn.invars[1 - side.index])
    return len(shape) == 2 and shape[0] == shape[1] and len(side.contracted) == 1 and not side.batch


@rule("dot_general")
def dot_general(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Read a product of two arrays, of which either may be the weight."""
    sides = _sides(eqn)
    if all(value.weight for value in ins):
        latent = _latent(ins, sides, [shape_of(var) for var in eqn.invars])
        if latent is None:
            return [_of_two_weights(walk, eqn, ins, place, sides)]
        walk.record.entries(place, ins[latent], source_of(eqn))
        ins = [LATENT if i == latent else value for i, value in enumerate(ins)]
    # The right operand first, as it is where models put their weights; where both are, one was told to be data above.
    for side in reversed(sides):
        if ins[side.index].weight:
            _note_stacked(walk, ins, side, sides[1 - side.index])
            return [product(walk, eqn, ins, place, side, Product())]
    walk.record.meets(ins)
    for side in sides:
        _note_bilinear(walk, ins[side.index], ins[1 - side.index], side)
    left, right = sides
    pairs = [*zip(left.contracted, right.contracted, strict=True), *zip(left.batch, right.batch, strict=True)]
    note_weighing(walk, ins, pairs)
    return [data(ins)]


def _sides(eqn: Any) -> list[Side]:
    contracted, batch = eqn.params["dimension_numbers"]
    ranks = [len(shape_of(var)) for var in eqn.invars]
    free = [[d for d in range(ranks[i]) if d not in (*contracted[i], *batch[i])] for i in (0, 1)]
    starts = (len(batch[0]), len(batch[0]) + len(free[0]))
    out = [
        dict(enumerate(batch[i])) | {starts[i] + place: d for place, d in enumerate(free[i])}  # batch, left, right
        for i in (0, 1)
    ]
    return [Side(i, contracted[i], batch[i], free[i], out[i]) for i in (0, 1)]


def _latent(ins: Sequence[Value], sides: Sequence[Side], shapes: Sequence[tuple[int, ...]]) -> int | None:
    """Of two weights, tell which enters as data: one that is repeated along a free dimension, or has none."""

    def is_data(i: int) -> bool:
        # Repeated for every row of a batch, or with nothing of its own beside what is summed.
        free = [(view.dims[d], shapes[i][d]) for view in ins[i].views for d in sides[i].free]
        return any(n > 1 and not axes_of((dim,)) for dim, n in free) or not axes_of(dim for dim, _ in free)

    told = [is_data(0), is_data(1)]
    return None if told[0] == told[1] else told.index(True)


def _of_two_weights(walk: Walk, eqn: Any, ins: list[Value], place: Place, sides: Sequence[Side]) -> Value:
    """W = A B, as an adapter makes it: the inner axis is settled where W is used."""
    views, shape = [], shape_of(eqn.outvars[0])
    for value, side in zip(ins, sides, strict=True):
        for view in value.views:
            inner = [view.dims[i] for i in side.contracted]
            walk.record.use(place, view._replace(batch=frozenset()), "inner", source_of(eqn), {"inner": inner})
            views.append(view._replace(dims=side.outward(view.dims, shape)))
    return Value(merged(views), weight=True)


def _note_stacked(walk: Walk, ins: Sequence[Value], side: Side, other: Side) -> None:
    """An output axis that meets a batch axis of another parameter numbers matrices (experts, ensembles)."""
    weight, beside = ins[side.index], ins[other.index]
    if not side.contracted:  # scaled entry by entry, as by a norm that is written as an einsum
        return
    for mine, theirs in zip(side.batch, other.batch, strict=True):
        if not any(axes_of((view.dims[mine],)) for view in weight.views):
            continue
        for view in beside.views:
            if view.kind == "output":
                walk.record.stacked |= {(view.param, axis) for axis in axes_of((view.dims[theirs],))}


def _note_bilinear(walk: Walk, value: Value, other: Value, side: Side) -> None:
    """Note outputs that meet the data they were made of: which side is the reduction is a matter of order then.

    Grouped queries leave an output axis free too, but meet keys, which come from a product of their own.
    """
    record = walk.record
    for view in (view for view in value.views if view.kind == "output"):
        met, free = (axes_of(view.dims[i] for i in dims) for dims in (side.contracted, side.free))
        made_of = [
            record.products[place].sources for place in value.products if place in record.uses.get(view.param, {})
        ]
        if met and free and any(sources == other.products for sources in made_of):
            record.bilinear |= {(view.param, axis) for axis in met}


@rule("conv_general_dilated")
def general_convolution(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Read a convolution: window and input channels are reduction."""
    kernel = eqn.params["dimension_numbers"].rhs_spec
    out = eqn.params["dimension_numbers"].out_spec
    groups = eqn.params["feature_group_count"]
    if ins[0].weight:
        walk.record.entries(place, ins[0], source_of(eqn))
        ins = [LATENT, ins[1]]
    if not ins[1].weight:
        return [data(ins)]
    # One input channel for each group: nothing is mixed, so there is no matrix to orthogonalise.
    depthwise = groups > 1 and shape_of(eqn.invars[1])[kernel[1]] == 1
    side = Side(1, kernel[1:], (), kernel[:1], {out[1]: kernel[0]})
    notes = [f"{groups} groups"] * (groups > 1) + ["batch groups"] * (eqn.params["batch_group_count"] > 1)
    return [product(walk, eqn, ins, place, side, Product(groups=groups, depthwise=depthwise), ", ".join(notes))]


@rule("ragged_dot_general", "ragged_dot")
def ragged_dot(walk: Walk, eqn: Any, ins: list[Value], place: Place) -> list[Value]:
    """Read a product in which every group of rows has its own matrix: experts."""
    walk.record.meets(ins)
    if not ins[1].weight:
        return [data(ins)]
    numbers = eqn.params["ragged_dot_dimension_numbers"]
    (_, contracted), (_, batch) = numbers.dot_dimension_numbers
    batch = (*batch, *numbers.rhs_group_dimensions)
    rank, out = len(shape_of(eqn.invars[1])), len(shape_of(eqn.outvars[0]))
    free = [d for d in range(rank) if d not in (*contracted, *batch)]
    side = Side(1, contracted, batch, free, {out - len(free) + i: d for i, d in enumerate(free)})
    return [product(walk, eqn, ins, place, side, Product(), "one matrix for each group of rows")]
