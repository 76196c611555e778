"""Kernels of three axes and more: of heads, of experts, of gate and value, told by what stands beside them."""

from collections.abc import Sequence

from optax_muon.matrices.names import _words as words
from optax_muon.matrices.names._sides import Axes, Sides, sides_by_bias
from optax_muon.matrices.names._tree import NamedArray, Tree


def of_heads(a: NamedArray, tree: Tree) -> Axes | None:
    """Kernels of a head-wise attention, (d, heads, width) or (heads, d, width) with an output (heads, width, d)."""
    rank, beside = len(a.shape), {a.label: a, **tree.beside(a)}
    query = next((beside[label] for label in words.QUERY if label in beside), None)
    query = query or next((beside[label] for label in ("qkv",) if label in beside), None)
    out = next((beside[label] for label in words.ATTENTION_OUT if label in beside and label != "proj"), None)
    if a.label in (*words.FUSED_QKV, *words.FUSED_KV):
        return _fused_heads(a, query, out, tree)
    is_out = a.label in words.ATTENTION_OUT
    if not (is_out or a.label in words.QUERY_KEY_VALUE) or query is None or out is None:
        return None
    if query.label == "qkv" and len(query.shape) == 4 and query.shape[0] == 3:
        query = query._replace(shape=query.shape[1:])
    if len(query.shape) != 3 or len(out.shape) != 3:
        return _stacked_heads(a, query, out) if rank == 4 == len(query.shape) == len(out.shape) else None
    (x, y, z), pair = query.shape, out.shape
    ways: list[Sides] = []
    if pair == (y, z, x) and (x, y) != (y, x):
        ways.append(((0,), (1, 2)))
    # (heads, d, width) looks like layers of (d, width), unless the model's norms say that no layers are stacked.
    if pair == (x, z, y) and y in tree.widths and tree.has_flat_norm(a):
        ways.append(((1,), (0, 2)))
    if len(ways) != 1:
        return None
    if is_out:
        return Axes((0, 1), (2,), "attention output: (heads, width) -> d")
    return Axes(*ways[0], f"attention {a.label}: d -> (heads, width)")


def _stacked_heads(a: NamedArray, query: NamedArray, out: NamedArray) -> Axes | None:
    """The same below an axis of layers that nothing else showed."""
    layers, x, y, z = query.shape
    if out.shape != (layers, y, z, x) or x == y == z:
        return None
    if a.label in words.ATTENTION_OUT:
        return Axes((1, 2), (3,), "attention output: (heads, width) -> d")
    return Axes((1,), (2, 3), f"attention {a.label}: d -> (heads, width)")


def _fused_heads(a: NamedArray, query: NamedArray | None, out: NamedArray | None, tree: Tree) -> Axes | None:
    """Query, key and value, or key and value, numbered by an axis of length three or two."""
    shape, parts = a.shape, 2 if a.label in words.FUSED_KV else 3
    if a.label == "query_key_value":
        return None
    if len(shape) == 4 and shape[0] == parts and shape[2] in tree.widths | ({out.shape[-1]} if out else set()):
        return Axes((2,), (1, 3), f"fused {a.label}: axis 0 numbers them")
    if len(shape) == 4 and shape[1] == parts:
        return Axes((0,), (2, 3), f"fused {a.label}: axis 1 numbers them")
    return None


def of_experts(a: NamedArray, tree: Tree) -> Axes | None:
    """Matrices of experts, or of gate and value side by side: the axis without which a pair of them fits."""
    if len(a.shape) != 3:
        return None
    feed_forward = words.FEED_FORWARD.fullmatch(a.label.lower()) or a.label == "linear"
    feed_forward = feed_forward or a.label == "gating"
    named = any("expert" in token.lower() or "moe" in token.lower() for token in a.path.split("/"))
    if not (feed_forward or named):
        return None
    others = [other for other in tree.beside(a).values() if len(other.shape) >= 2]
    if a.label == "gating" and a.shape[0] == 2 and (width := _width(a, tree)):
        return Axes((width,), (3 - width,), "gate and value: axis 0 numbers matrices, as the model is wide")
    axes = {axis for other in others for axis in _paired(a, other)}
    for router in _routers(a, tree):
        axes &= {axis for axis in range(3) if a.shape[axis] == router.shape[-1]} or axes
    sides = sides_by_bias(a.shape, tree.bias(a))
    if len(sides) == 1:
        axes = {axis for axis in range(3) if axis not in sides[0][0] + sides[0][1]}
    if len(axes) != 1:
        return None
    (batch,) = axes
    rest = tuple(axis for axis in range(3) if axis != batch)
    what = "experts" if named or a.shape[batch] > 2 else "gate and value"
    return Axes(rest[:1], rest[1:], f"{what}: axis {batch} numbers matrices")


def _width(a: NamedArray, tree: Tree) -> int | None:
    """Return the one of two axes that is as long as the model is wide: some store a gate the other way round."""
    fitting = [axis for axis in (1, 2) if a.shape[axis] in tree.widths]
    return fitting[0] if len(fitting) == 1 else None


def _paired(a: NamedArray, other: NamedArray) -> list[int]:
    """Return axes that number matrices, if these two are the way up and the way down of one layer."""
    found = []
    for axis in range(3):
        x, y = (n for i, n in enumerate(a.shape) if i != axis)
        same = other.shape[axis] == a.shape[axis] if len(other.shape) == 3 else a.shape[axis] == 2
        rest = tuple(n for i, n in enumerate(other.shape) if i != axis) if len(other.shape) == 3 else other.shape
        if x != y and same and rest == (y, x):
            found.append(axis)
    return found


def _routers(a: NamedArray, tree: Tree) -> Sequence[NamedArray]:
    """Routers beside experts, or beside the module that holds them."""
    near = [*tree.beside(a).values(), *tree.kernels.get(a.holder[:-2], ())]
    return [
        other
        for other in near
        if len(other.shape) == 2 and (words.ROUTER_MODULE.fullmatch(other.label.lower()) or other.label == "gate")
    ]
