"""From what a call does with one parameter to its role and axes."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from optax_muon.matrices._by_name import Finding
from optax_muon.matrices._leaf import Leaf, Role
from optax_muon.matrices.call._record import Product, Record, Usage
from optax_muon.matrices.call._value import Place


class Problem(NamedTuple):
    """Why a parameter cannot be told; ``unused`` where the call says nothing of it at all."""

    why: str
    unused: bool = False


class Seen(NamedTuple):
    """What the axes of a parameter are in one product: ``reduction``, ``output``, ``batch``, or "" for none."""

    parts: tuple[str, ...]
    place: Place
    use: Usage

    def axes(self, part: str) -> tuple[int, ...]:
        """Axes that play one part."""
        return tuple(axis for axis, found in enumerate(self.parts) if found == part)


def summarize(record: Record, number: int) -> Finding | Problem:
    """Sum up all uses of a parameter, or say why they do not make one matrix."""
    shape = record.shapes[number]
    uses = record.uses.get(number, {})
    if not uses:
        return Problem("the call does not use it", unused=True)
    products = {p: u for p, u in uses.items() if u.kind == "product"}
    # What only measures a weight, as the power iteration of its spectral norm, says nothing where results come from it.
    products = {p: u for p, u in products.items() if p not in record.products or p in record.live} or products
    # A weight that meets constants alone, as positions made in the call, is still contracted by them.
    products = products or {p: u for p, u in uses.items() if u.kind == "constant"}
    # Beside a product that tells, what cannot be followed (a norm by decomposition, say) changes nothing.
    opaque = next((use for use in uses.values() if use.kind == "opaque"), None)
    if opaque is not None and not products:
        return Problem(f"{_noted(opaque)} ({opaque.source})")
    tables = [use for use in uses.values() if use.kind == "table"]
    if tables:
        return _table(shape, tables[0], tied=bool(products))
    if not products:
        first = next(iter(uses.values()))
        return Finding(Leaf("vector"), f"meets entries alone, in {first.source}")
    for param, axis in record.bilinear:
        if param == number:
            return Problem(f"axis {axis} meets the data that the matrix was multiplied with: a bilinear form")
    inner = {axis for use in uses.values() if use.kind == "inner" for axis in use.parts}
    readings = [_reading(record, number, place, use, inner) for place, use in products.items()]
    if isinstance(problem := _agreed(readings), Problem):
        return problem
    return _matrix(record, number, [r for r in readings if r.axes("reduction") and r.axes("output")] or readings, inner)


def _noted(use: Usage) -> str:
    return ", ".join(sorted(use.notes))


def _table(shape: Sequence[int], use: Usage, tied: bool) -> Finding:
    index, feature = (
        tuple(a for a, parts in sorted(use.parts.items()) if part in parts) for part in ("index", "feature")
    )
    if not index or not feature or all(shape[axis] == 1 for axis in index):
        return Finding(Leaf("vector"), f"looked up in {use.source}")
    how = "looked up, and multiplied as the head" if tied else "looked up"
    return Finding(Leaf("embedding", index, feature), f"{how} in {use.source}")


def _reading(record: Record, number: int, place: Place, use: Usage, inner: set[int]) -> Seen:
    """Read one product; axes that number matrices elsewhere, and inner axes of two weights, are settled here."""
    shape = record.shapes[number]
    parts = {axis: set(use.parts.get(axis, ())) for axis, n in enumerate(shape) if n > 1}
    outputs = [axis for axis, found in parts.items() if "output" in found]
    for axis in outputs:
        numbers_matrices = (number, axis) in record.stacked or _one_by_one(record, number, axis)
        # The only output axis is one, however it is used afterwards.
        if parts[axis] == {"output"} and numbers_matrices and len(outputs) > 1:
            parts[axis] = {"batch"}
    others = [found for axis, found in parts.items() if axis not in inner]
    # In W = A B the inner axis is what A puts out and B takes in; where W is used says which of them this is.
    for axis in inner & parts.keys():
        parts[axis] |= {"output"} if all("reduction" in found for found in others) else {"reduction"}
    told = {axis: "+".join(sorted(found)) for axis, found in parts.items()}
    return Seen(_with_ones(shape, told), place, use)


def _one_by_one(record: Record, number: int, axis: int) -> bool:
    """Whether an output axis was taken apart entry by entry: gate and value side by side."""
    cuts, length = record.cuts.get((number, axis), set()), record.shapes[number][axis]
    return len(cuts) == length and all(stop - start == 1 for start, stop in cuts)


def _with_ones(shape: Sequence[int], told: dict[int, str]) -> tuple[str, ...]:
    """Axes of length one show in no product: the last is the output, or the first the reduction, where none is."""
    ones = [axis for axis, n in enumerate(shape) if n == 1]
    if ones and "output" not in told.values():
        told = told | {ones[-1]: "output"}
    elif ones and "reduction" not in told.values():
        told = told | {ones[0]: "reduction"}
    return tuple(told.get(axis, "one" if n == 1 else "") for axis, n in enumerate(shape))


def _agreed(readings: Sequence[Seen]) -> Problem | None:
    """Check that all products see the same matrix, and see all of it."""
    seen = {
        reading.parts: reading.use.source
        for reading in readings
        if reading.axes("reduction") and reading.axes("output")
    }
    if len(seen) > 1:
        (a, where_a), (b, where_b), *_ = seen.items()
        return Problem(f"it is used in two ways: {_said(a)} ({where_a}), and {_said(b)} ({where_b})")
    for parts, source in seen.items():
        for axis, part in enumerate(parts):
            if part == "":
                return Problem(f"axis {axis} meets no product ({source})")
            if "+" in part:
                return Problem(f"axis {axis} is {part.replace('+', ' and ')} at once ({source})")
    return None


def _said(parts: Sequence[str]) -> str:
    return ", ".join(f"axis {axis} is {part or 'nothing'}" for axis, part in enumerate(parts))


def _matrix(record: Record, number: int, readings: Sequence[Seen], inner: set[int]) -> Finding | Problem:
    """Tell the role of a parameter whose products agree."""
    first, shape = readings[0], record.shapes[number]
    reduction, output = first.axes("reduction"), first.axes("output")
    known = [record.products.get(reading.place, Product()) for reading in readings]
    source = f"contracted in {first.use.source}"
    if not reduction or not output or sum(n > 1 for n in shape) < 2 and all(p.weights > 1 for p in known):
        return Finding(Leaf("vector"), f"one number for each, {source}")
    if all(product.depthwise for product in known):
        return Finding(Leaf("vector"), f"one input channel per group: depthwise, {source}")
    if inner and all(product.weights <= 2 for product in known):
        return Problem(f"two parameters are multiplied first, and which is data cannot be told ({first.use.source})")
    role, reason, assumed = _role(record, readings, known)
    split = None
    if role in ("hidden", "input"):
        split = _groups(shape, output, known) or _split(record, number, output)
    return Finding(Leaf(role, reduction, output, split=split), reason + source, assumed)


def _role(record: Record, readings: Sequence[Seen], known: Sequence[Product]) -> tuple[Role, str, bool]:
    places = {reading.place for reading in readings}
    if places <= record.outputs - record.followed:
        if places <= record.residual:  # a bare block was traced: its last matrix only looks like a head
            return "hidden", "last before the output, in a residual stream: ", True
        return "head", "no product follows: ", False
    if places <= record.ranking:
        return "router", "its result is ranked: ", False
    if all(any(_numbers(record, *axis) for axis in record.weighing.get(place, ())) for place in places):
        return "router", "its shares weigh others' results: ", False
    if all(product.first for product in known):
        if any(product.raw & record.streams for product in known):  # a bare block was traced, or a stack of them
            return "hidden", "first after an input that joins a residual stream: ", True
        if all(reading.use.taken for reading in readings):  # a condition, which every layer of a loop takes
            return "hidden", "every layer of a loop takes an input: ", True
        return "input", "first after the inputs: ", False
    if all(product.constant for product in known):
        return "hidden", "multiplies constants: ", True
    return "hidden", "", False


def _numbers(record: Record, param: int, axis: int) -> bool:
    """Tell whether an axis of a parameter numbers its matrices."""
    parts = [use.parts.get(axis) for use in record.uses.get(param, {}).values() if use.kind == "product"]
    return (param, axis) in record.stacked or {"batch"} in parts


def _groups(shape: Sequence[int], output: Sequence[int], known: Sequence[Product]) -> tuple[int, ...] | None:
    """Groups of a convolution: matrices side by side along its outputs."""
    groups, length = known[0].groups, math.prod(shape[axis] for axis in output)
    return (length // groups,) * groups if groups > 1 else None


def _split(record: Record, number: int, output: Sequence[int]) -> tuple[int, ...] | None:
    """Pieces into which the product's result is cut along its only output axis, if they tile it."""
    if len(output) != 1 or (number, output[0]) in record.rejoined:
        return None
    length = record.shapes[number][output[0]]
    # A model may name pieces that its sizes leave empty.
    bounds = sorted(cut for cut in record.cuts.get((number, output[0]), ()) if cut[0] < cut[1])
    tiles = len(bounds) > 1 and all(a[1] == b[0] for a, b in itertools.pairwise(bounds))
    if not tiles or bounds[0][0] != 0 or bounds[-1][1] != length:
        return None
    return tuple(stop - start for start, stop in bounds)
