"""What a traced call does with its parameters, noted while its equations are walked."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from optax_muon.matrices.call._value import Dim, Place, Value, View, axes_of

Part = Literal["reduction", "output", "batch", "index", "feature", "entry", "inner"]
"""What an axis is in one use: index and feature of a table, entry where entries meet entries, inner between two
weights that are multiplied."""
Kind = Literal["product", "table", "entries", "inner", "constant", "opaque"]
Bounds = tuple[int, int]


@dataclasses.dataclass
class Usage:
    """One use of a parameter: the kind of equation, what each axis is there, where, and remarks.

    ``taken``: whether a loop, or an index, takes its matrices one at a time.
    """

    kind: Kind
    source: str
    parts: dict[int, set[Part]] = dataclasses.field(default_factory=dict)
    notes: set[str] = dataclasses.field(default_factory=set)
    taken: bool = False


@dataclasses.dataclass(frozen=True)
class Product:
    """What is known of a product beside the parameters' own axes.

    Attributes:
        first: its other side comes from the inputs with no product or table before.
        constant: its other side comes from constants alone.
        weights: how many parameters make its weight.
        groups: of a convolution, each with its own input channels.
        depthwise: whether each of several groups has one input channel.
        sources: products that its other side comes from.
        raw: numbers of the inputs that reach its other side through no product.
    """

    first: bool = False
    constant: bool = False
    weights: int = 1
    groups: int = 1
    depthwise: bool = False
    sources: frozenset[Place] = frozenset()
    raw: frozenset[int] = frozenset()


@dataclasses.dataclass
class Record:
    """Notes on all parameters of a call, by number.

    Attributes:
        shapes: of the parameters.
        uses: by parameter, then by place.
        products: by place.
        followed: products that another product of a parameter follows.
        ranking: products whose results were ranked and then chose or weighed others.
        residual: products whose results were added to others'.
        outputs: products that reach the call's results.
        streams: numbers of the inputs that are added to what products have made before another product follows.
        weighing: products whose results, made shares, weigh results along an axis of another array.
        stacked: axes of outputs that later number another array's matrices.
        cuts: pieces into which a product's output was cut along one whole axis.
        bilinear: output axes that are contracted with the very data that the product began with.
        rejoined: axes whose pieces were put together again, as rotary halves are.
    """

    shapes: Sequence[tuple[int, ...]]
    uses: dict[int, dict[Place, Usage]] = dataclasses.field(default_factory=dict)
    products: dict[Place, Product] = dataclasses.field(default_factory=dict)
    followed: set[Place] = dataclasses.field(default_factory=set)
    ranking: set[Place] = dataclasses.field(default_factory=set)
    residual: set[Place] = dataclasses.field(default_factory=set)
    outputs: set[Place] = dataclasses.field(default_factory=set)
    streams: set[int] = dataclasses.field(default_factory=set)
    weighing: dict[Place, set[tuple[int, int]]] = dataclasses.field(default_factory=dict)
    stacked: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    cuts: dict[tuple[int, int], set[Bounds]] = dataclasses.field(default_factory=dict)
    bilinear: set[tuple[int, int]] = dataclasses.field(default_factory=set)
    rejoined: set[tuple[int, int]] = dataclasses.field(default_factory=set)

    @functools.cached_property
    def live(self) -> set[Place]:
        """Products that the call's results come from: not those that only measure a weight, as its spectral norm."""
        found, todo = set(), list(self.outputs)
        while todo:
            place = todo.pop()
            if place not in found:
                found.add(place)
                todo += self.products.get(place, Product()).sources
        return found

    def use(
        self, place: Place, view: View, kind: Kind, source: str, parts: Mapping[Part, Iterable[Dim]], note: str = ""
    ) -> None:
        """Note one use of a view; ``parts`` says which of its dimensions play which part."""
        use = self.uses.setdefault(view.param, {}).setdefault(place, Usage(kind, source))
        use.taken = use.taken or bool(view.batch)
        for axis in view.batch:
            use.parts.setdefault(axis, set()).add("batch")
        for axis in view.summed:
            use.parts.setdefault(axis, set()).add("reduction")
        for part, dims in parts.items():
            for axis in axes_of(dims):
                use.parts.setdefault(axis, set()).add(part)
        if note:
            use.notes.add(note)

    def opaque(self, place: Place, views: Iterable[View], source: str, note: str) -> None:
        """Note that what happens to these views cannot be followed."""
        for view in views:
            self.use(place, view, "opaque", source, {}, note)

    def entries(self, place: Place, value: Value, source: str) -> None:
        """Note that a weight meets data entry by entry."""
        for view in value.views if value.weight else ():
            self.use(place, view, "entries", source, {"entry": view.dims})

    def cut(self, view: View, dim: int, bounds: Bounds) -> None:
        """Note a piece of a dimension that is one whole axis of a product's output."""
        # Only a whole axis: a piece of a product of axes, or of every other entry, separates no matrices.
        factors = view.dims[dim]
        if len(factors) != 1 or len(factors[0].axes) != 1:
            return
        axis = factors[0].axes[0]
        if factors[0].stride == 1 and factors[0].size == self.shapes[view.param][axis]:
            self.cuts.setdefault((view.param, axis), set()).add(bounds)

    def meets(self, values: Iterable[Value]) -> None:
        """Note that what these values carry was ranked, and now chooses or weighs others."""
        for value in values:
            self.ranking |= value.ranked
