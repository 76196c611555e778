"""A tree of named arrays: what stands beside what, which axes number layers, which lengths are the model's widths."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from optax_muon.matrices.names._words import CONTAINERS, EMBEDDING_NAME, KERNELS, NORM_MODULE, TOKEN_NAME, VECTOR_NAME

Shape = tuple[int, ...]
Holder = tuple[str, ...]


class NamedArray(NamedTuple):
    """One array.

    Attributes:
        path: of the array.
        name: its last token.
        holder: the module that has it as its kernel; the whole path of an array that is called by its purpose.
        label: what the model calls that module: the last token that says something.
        shape: of the array, without the axis that numbers layers where there is one.
        stack: that axis, or None.
    """

    path: str
    name: str
    holder: Holder
    label: str
    shape: Shape
    stack: int | None = None

    @property
    def is_kernel(self) -> bool:
        """Whether its name says no more than that it is its module's kernel."""
        return self.name in KERNELS

    @property
    def is_vector(self) -> bool:
        """Whether its name says that it meets data entry by entry."""
        of_norm = self.is_kernel and self.name != "kernel" and NORM_MODULE.fullmatch(self.label.lower()) is not None
        return VECTOR_NAME.fullmatch(self.name) is not None or TOKEN_NAME.fullmatch(self.name) is not None or of_norm


class Tree:
    """All arrays of a tree, by path."""

    def __init__(self, shapes: Mapping[str, Shape]):
        """Find out which axes number layers, and take them off."""
        self.raw = {path: _named(path, shape) for path, shape in shapes.items()}
        self.arrays = self.raw
        stacks = self._stacks()
        self.arrays = {path: _unstacked(a, stacks) for path, a in self.raw.items()}
        self.votes: dict[str, list[Any]] = {}
        self.kernels: dict[Holder, list[NamedArray]] = {}
        for a in self.arrays.values():
            if len(a.shape) > 1 and not a.is_vector:
                self.kernels.setdefault(a.holder[:-1], []).append(a)

    def beside(self, a: NamedArray) -> dict[str, NamedArray]:
        """Kernels of the modules in the same place, by label."""
        return {other.label: other for other in self.kernels.get(a.holder[:-1], ()) if other.path != a.path}

    def names_in(self, path: str) -> frozenset[str]:
        """Names of the arrays in the same module."""
        return self._names.get(path.rpartition("/")[0], frozenset())

    @functools.cached_property
    def _names(self) -> dict[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for path in self.raw:
            module, _, name = path.rpartition("/")
            found.setdefault(module, set()).add(name)
        return {module: frozenset(names) for module, names in found.items()}

    def bias(self, a: NamedArray) -> Shape | None:
        """Shape of the bias of a kernel, without the axis that numbers layers."""
        stem = "/".join(a.holder if a.is_kernel else a.holder[:-1])
        if a.is_kernel:
            names = KERNELS[a.name]
        else:
            names = (f"{a.name}_bias", a.name.replace("weight", "bias"), f"b{a.name[1:]}" if a.name[0] == "w" else "")
        for name in names:
            found = self.arrays.get(f"{stem}/{name}" if stem else name)
            # A convolution of Equinox keeps its bias as (out, 1, 1).
            if found is not None and found.path != a.path and found.stack == a.stack:
                shape = found.shape
                while a.name == "weight" and len(shape) > 1 and shape[-1] == 1:
                    shape = shape[:-1]
                return shape
        return None

    def has_flat_norm(self, a: NamedArray) -> bool:
        """Tell whether the numbered block around an array has norms of one axis: then nothing in it is stacked."""
        n = next((n for n, token in enumerate(a.holder, 1) if any(c.isdigit() for c in token)), 0)
        if not n and a.stack is None:
            return False
        near = [b for b in self.arrays.values() if b.holder[:n] == a.holder[:n] and b.stack == a.stack]
        return any(_is_norm(b) and len(b.shape) == 1 for b in near)

    @functools.cached_property
    def widths(self) -> frozenset[int]:
        """Lengths that a residual stream has: of norms, and of the features of tables."""
        norms = {a.shape[-1] for a in self.arrays.values() if _is_norm(a) and len(a.shape) == 1}
        tables = {shape[-1] for shape in self.tables}
        return frozenset(n for n in norms | tables if n > 1)

    @functools.cached_property
    def tables(self) -> list[Shape]:
        """Shapes (entries, features) of tables of tokens."""
        return [
            a.shape
            for a in self.arrays.values()
            if len(a.shape) == 2 and min(a.shape) > 1 and "pos" not in a.path.lower() and is_table(a)
        ]

    def _stacks(self) -> dict[Holder, tuple[int, int]]:
        """Modules all of whose arrays have one axis in common, which numbers their layers: a norm's second axis."""
        flat = {a.shape[0] for a in self.raw.values() if _is_norm(a) and len(a.shape) == 1}
        flat |= {a.shape[-1] for a in self.raw.values() if is_table(a) and len(a.shape) == 2}
        found: dict[Holder, tuple[int, int]] = {}
        for a in self.raw.values():
            if not _is_norm(a) or len(a.shape) != 2:
                continue
            scopes = {axis: self._scope(a, axis) for axis in (0, 1)}
            fitting = [axis for axis, scope in scopes.items() if scope is not None]
            if len(fitting) == 2:
                # Of its two axes one is as long as the model is wide, and that one is no number of layers.
                fitting = [axis for axis in fitting if a.shape[1 - axis] in flat and a.shape[axis] not in flat]
            if len(fitting) == 1 and (scope := scopes[fitting[0]]) is not None:
                found[scope] = (fitting[0], a.shape[fitting[0]])
        return found

    def _scope(self, witness: NamedArray, axis: int) -> Holder | None:
        """Return the outermost module around a norm all of whose arrays have that axis."""
        best = None
        for n in range(len(witness.holder) - 1, -1, -1):
            inside = [a for a in self.raw.values() if a.holder[:n] == witness.holder[:n]]
            if not all(len(a.shape) > axis and a.shape[axis] == witness.shape[axis] for a in inside):
                break
            if any(len(a.shape) > 2 for a in inside):
                best = witness.holder[:n]
        return best


def is_table(a: NamedArray) -> bool:
    """Tell a table by its name, or by its module's for a name that says nothing."""
    if a.is_kernel:
        return a.name != "kernel" and EMBEDDING_NAME.fullmatch(a.label.lower()) is not None and "patch" not in a.path
    return EMBEDDING_NAME.fullmatch(a.name.lower()) is not None


def label_of_tokens(tokens: Holder) -> str:
    """Return the last token that says something, without the suffix of an einsum."""
    label = next((token for token in reversed(tokens) if not CONTAINERS.fullmatch(token.lower())), "")
    return label.removesuffix("_einsum")


def _named(path: str, shape: Shape) -> NamedArray:
    tokens = tuple(path.split("/"))
    holder = tokens[:-1] if tokens[-1] in KERNELS else tokens
    return NamedArray(path, tokens[-1], holder, label_of_tokens(holder), shape)


def _unstacked(a: NamedArray, stacks: Mapping[Holder, tuple[int, int]]) -> NamedArray:
    for scope, (axis, _) in stacks.items():
        if a.holder[: len(scope)] == scope:
            return a._replace(shape=a.shape[:axis] + a.shape[axis + 1 :], stack=axis)
    return a


def _is_norm(a: NamedArray) -> bool:
    if a.name not in ("scale", "weight", "w", "gamma", "offset"):
        return False
    tokens = tuple(a.path.lower().split("/"))[:-1]
    module = tokens[-1] if tokens else ""
    return a.name == "scale" or any(NORM_MODULE.fullmatch(name) for name in (module, label_of_tokens(tokens)))
