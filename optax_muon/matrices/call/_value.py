"""What a variable of a traced call holds of the parameters: the abstract value of the reading."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

Place = tuple[int | str, ...]
"""Where an equation stands: its number, and those of the calls around it. JAX shares the traces of equal calls, so that
the identity of an equation does not tell."""

IRREGULAR = -1
"""The stride of a factor whose entries are no longer evenly apart."""


class Factor(NamedTuple):
    """A factor of a dimension's length.

    Attributes:
        axes: axes of the parameter that it runs along; none where the parameter was repeated.
        stride: steps along that axis between neighbours; `IRREGULAR`, or 0 where it was repeated.
        size: its length.
    """

    axes: tuple[int, ...]
    stride: int
    size: int


Dim = tuple[Factor, ...]
Dims = tuple[Dim, ...]


def whole(shape: Sequence[int]) -> Dims:
    """Dimensions of a parameter as it comes in: each runs along its own axis."""
    return tuple(() if n == 1 else (Factor((axis,), 1, n),) for axis, n in enumerate(shape))


def repeated(length: int) -> Dim:
    """A dimension along which nothing of the parameter changes."""
    return () if length == 1 else (Factor((), 0, length),)


def irregular(dim: Dim, length: int) -> Dim:
    """A dimension of another length that still runs along the same axes, in no simple way."""
    return () if length == 1 else (Factor(axes_of((dim,)), IRREGULAR, length),)


def axes_of(dims: Iterable[Dim]) -> tuple[int, ...]:
    """Axes of the parameter that these dimensions run along, in order."""
    return tuple(sorted({axis for dim in dims for factor in dim for axis in factor.axes}))


def regrouped(dims: Dims, shape: Sequence[int]) -> Dims | None:
    """Reshape, row-major: a factor is cut where a new dimension ends inside it; None where that cannot be followed."""
    todo, made = [factor for dim in dims for factor in dim], []
    for length in shape:
        found: list[Factor] = []
        while length > 1:
            if not todo:
                return None
            axes, stride, size = todo.pop(0)
            if length % size == 0:
                found.append(Factor(axes, stride, size))
                length //= size
            elif size % length == 0:
                inner = size // length
                found.append(Factor(axes, stride if stride < 0 else stride * inner, length))
                todo.insert(0, Factor(axes, stride, inner))
                length = 1
            elif todo:  # no common divisor: both axes are in what follows
                other = todo.pop(0)
                todo.insert(0, Factor(tuple(sorted({*axes, *other.axes})), IRREGULAR, size * other.size))
            else:
                return None
        made.append(tuple(found))
    return tuple(made)


class View(NamedTuple):
    """One parameter, as the dimensions of a value run along its axes.

    Attributes:
        param: number of the parameter.
        kind: ``weight``: the value is made of parameters alone; ``output``: its dimensions descend from the
            parameter's outputs, through a product; ``scaled``: the parameter was multiplied in, entry by entry.
        dims: one entry per dimension of the value.
        batch: axes that a loop or an index has taken one at a time.
        summed: axes that were summed before any product, as an einsum may do.
    """

    param: int
    kind: Literal["weight", "output", "scaled"]
    dims: Dims
    batch: frozenset[int] = frozenset()
    summed: frozenset[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class Value:
    """What is known of one variable.

    Attributes:
        views: the parameters that it shows.
        weight: whether it is made of parameters (and constants) alone.
        products: places of the products that reach it through no further product.
        computed: whether it comes from a product or a table of parameters.
        given: whether it comes from an input of the call.
        raw: numbers of the inputs that reach it through no product.
        stream: numbers of the raw inputs that were added to what products have made: a residual stream.
        ranked: products whose results were ranked (top-k, argmax, sort) to make it.
        one_hot: whether it marks one entry among many, as a comparison of integers does.
        exponential: whether it is an exponential, which divided by a sum makes shares.
        shares: products whose results were made shares of one, as by a softmax.
    """

    views: tuple[View, ...] = ()
    weight: bool = False
    products: frozenset[Place] = frozenset()
    computed: bool = False
    given: bool = False
    raw: frozenset[int] = frozenset()
    stream: frozenset[int] = frozenset()
    ranked: frozenset[Place] = frozenset()
    one_hot: bool = False
    exponential: bool = False
    shares: frozenset[Place] = frozenset()

    @property
    def constant(self) -> bool:
        """Whether it comes from neither parameters nor inputs."""
        return not (self.weight or self.given or self.computed or self.products)

    def mapped(self, change: Callable[[Dims], Dims | None]) -> tuple["Value", list[View]]:
        """Change the dimensions of every view; return the value and the views that could not be followed.

        Axes that a weight no longer shows are batch: one of their entries was taken.
        """
        views, lost = [], []
        for view in self.views:
            dims = change(view.dims)
            if dims is None:
                lost.append(view)
                continue
            gone = set(axes_of(view.dims)) - set(axes_of(dims)) if view.kind != "output" else set()
            views.append(view._replace(dims=dims, batch=view.batch | gone))
        return dataclasses.replace(self, views=tuple(views), weight=self.weight and bool(views)), lost


def merged(views: Iterable[View]) -> tuple[View, ...]:
    """One view of each parameter and kind: the one that shows most of its axes."""
    best: dict[tuple[int, str], View] = {}
    for view in views:
        known = best.get((view.param, view.kind))
        if known is None or len(axes_of(view.dims)) > len(axes_of(known.dims)):
            best[view.param, view.kind] = view
    return tuple(best.values())


def data(values: Sequence[Value], views: Iterable[View] = (), **known: object) -> Value:
    """Join values to one that is no weight; ``known`` overrides what follows from them."""
    made = Value(
        merged(views),
        products=frozenset().union(*(value.products for value in values)),
        computed=any(value.computed for value in values),
        given=any(value.given for value in values),
        raw=frozenset().union(*(value.raw for value in values)),
        stream=frozenset().union(*(value.stream for value in values)),
        shares=frozenset().union(*(value.shares for value in values)),
        ranked=frozenset().union(*(value.ranked for value in values)),
    )
    return dataclasses.replace(made, **known)  # pyright: ignore[reportArgumentType]


def joined(a: Value, b: Value) -> Value:
    """Join the values of two branches, or of two turns of a loop."""
    if a == b:
        return a
    if a.weight and b.weight:
        return Value(merged(a.views + b.views), weight=True)
    return data([a, b], [view for value in (a, b) if not value.weight for view in value.views])


def volume(dim: Dim) -> int:
    """Length of a dimension."""
    return math.prod(factor.size for factor in dim)
