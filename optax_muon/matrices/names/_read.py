"""The leaf of every parameter of a plain tree, read from names, shapes and what stands beside."""

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType

from optax_muon.matrices._by_name import Finding, UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices.flax._stacked_axes import lifted
from optax_muon.matrices.names._axes import Axes, is_named_convolution, kernel_axes
from optax_muon.matrices.names._flow import Flow
from optax_muon.matrices.names._fused import pieces
from optax_muon.matrices.names._purpose import purpose_of
from optax_muon.matrices.names._tree import NamedArray, Shape, Tree, is_table
from optax_muon.matrices.names._words import HEAD_MODULE, NO_HEAD, ROUTER_MODULE

Reading = Mapping[str, Finding | UnknownLeafError]


def read_names(shapes: Mapping[str, Shape]) -> Reading:
    """Read all parameters of a tree; an error stands where names, shapes and neighbours do not tell."""
    return _read_names(tuple(shapes.items()))


# The whole tree and the parts that optimizers see of it ask at init and at every trace.
@functools.lru_cache(maxsize=32)
def _read_names(items: tuple[tuple[str, Shape], ...]) -> Reading:
    """Read axes first: who takes and makes which lengths tells roles."""
    tree = Tree(dict(items))
    found: dict[str, Finding | UnknownLeafError] = {}
    axes: dict[str, Axes] = {}
    for path, a in tree.arrays.items():
        told = _no_matrix(a, tree.raw[path].shape, tree.names_in(path))
        try:
            if told is None:
                axes[path] = kernel_axes(a, tree)
            else:
                found[path] = told
        except UnknownLeafError as error:
            found[path] = _elsewhere(a) or _lifted_error(error, a, tree.raw[path].shape)
    flow = Flow(tree, axes)
    for path in axes:
        try:
            found[path] = _depthwise(tree.arrays[path], flow) or _matrix(tree.arrays[path], flow, tree.raw[path].shape)
        except UnknownLeafError as error:
            found[path] = _lifted_error(error, tree.arrays[path], tree.raw[path].shape)
    return MappingProxyType(_with_a_matrix({path: found[path] for path, _ in items}))


def _with_a_matrix(found: dict[str, Finding | UnknownLeafError]) -> dict[str, Finding | UnknownLeafError]:
    """Take first and last layers for hidden where their place alone tells, and no other matrix would be left."""
    findings = {path: entry for path, entry in found.items() if isinstance(entry, Finding)}
    if len(findings) < len(found) or any(entry.leaf.role == "hidden" for entry in findings.values()):
        return found
    for path, entry in findings.items():
        if entry.assumed and entry.leaf.role in ("head", "input"):
            leaf = dataclasses.replace(entry.leaf, role="hidden")
            found[path] = Finding(leaf, f"{entry.reason}, but the model has no other matrix", True)
    return found


def _no_matrix(a: NamedArray, shape: Shape, siblings: frozenset[str]) -> Finding | None:
    """Vectors and tables."""
    if len(shape) < 2 or a.is_vector:
        return Finding(Leaf("vector"), f"rank {len(shape)}" if len(shape) < 2 else f"named {a.name!r}")
    if is_table(a):
        if all(length == 1 for length in shape[:-1]):
            return Finding(Leaf("vector"), "a single embedded token")
        return Finding(Leaf("embedding", len(shape) - 2, len(shape) - 1), f"named {a.label!r}")
    if len(a.shape) < 2:
        return Finding(Leaf("vector"), "one number for each, in stacked layers")
    if a.name != "kernel" and len(shape) > 2 and sum(length > 1 for length in shape) <= 1:
        return Finding(Leaf("vector"), "at most one axis longer than 1")
    if a.shape[-1] == 2 and a.name[:1] in "BC" and "Lambda_re" in siblings:
        return Finding(Leaf("vector"), "complex numbers as pairs, of a diagonal state space")
    return None


def _depthwise(a: NamedArray, flow: Flow) -> Finding | None:
    """One input channel: a convolution channel by channel, or the first on images of one channel."""
    if not is_named_convolution(a) or len(a.shape) < 3 or a.shape[1 if a.name == "weight" else -2] != 1:
        return None
    if any(word in a.label.lower() for word in ("depthwise", "dw")):
        return Finding(Leaf("vector"), "one input channel per group: depthwise")
    if flow.others_make(a.path):
        return Finding(Leaf("vector"), "one input channel per group: depthwise", True)
    return None


def _matrix(a: NamedArray, flow: Flow, shape: Shape) -> Finding:
    """Role, pieces and axes of one kernel."""
    axes, purpose = flow.axes[a.path], purpose_of(a, flow)
    split, cut, cut_sure = (None, "", True)
    if purpose.role == "hidden":
        split, cut, cut_sure = pieces(a, axes, flow.tree)
    why = ": ".join(dict.fromkeys(part for part in (purpose.why, cut, axes.why) if part))
    leaf = Leaf(purpose.role, axes.reduction, axes.output, split=split)
    if a.stack is not None:
        leaf, why = lifted(leaf, len(shape), (a.stack,)), f"{why}; axis {a.stack} numbers layers, as of the norms"
    return Finding(leaf, why, not (purpose.sure and axes.sure and cut_sure))


def _elsewhere(a: NamedArray) -> Finding | None:
    """What its name sends to the other optimizer may have axes that nothing tells."""
    rank, label = len(a.shape), a.label.lower()
    if ROUTER_MODULE.fullmatch(label) and a.shape[0] != 2:  # of two, gate and value of a feed-forward layer
        return Finding(Leaf("router", rank - 2, rank - 1), f"module {a.label!r}", True)
    if HEAD_MODULE.fullmatch(label) and not NO_HEAD.fullmatch(label):
        return Finding(Leaf("head", rank - 2, rank - 1), f"module {a.label!r}", True)
    return None


def _lifted_error(error: UnknownLeafError, a: NamedArray, shape: Shape) -> UnknownLeafError:
    """Count the axes of the suggested rule as the parameter has them."""
    if a.stack is None or not isinstance(error.rule, Leaf):
        return error
    return UnknownLeafError(str(error), lifted(error.rule, len(shape), (a.stack,)))


def by_name(path: str, shape: Shape, shapes: Mapping[str, Shape]) -> Finding:
    """Find the leaf of one parameter of a tree.

    Raises:
        UnknownLeafError: where names, shapes and neighbours do not tell; the message says why.
    """
    found = read_names(shapes)[path] if shapes.get(path) == shape else read_names({**shapes, path: shape})[path]
    if isinstance(found, UnknownLeafError):
        raise found
    return found
