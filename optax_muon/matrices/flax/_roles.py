"""What a kernel with known axes is for: told by its module's name, by the module around it, or by options."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from optax_muon.matrices._by_name import Finding, UnknownLeafError
from optax_muon.matrices._leaf import Leaf, Split
from optax_muon.matrices.flax._layer_axes import Site, Untold, apart
from optax_muon.matrices.flax._layer_table import Cell, cells, lookup
from optax_muon.matrices.names._words import (
    ATTENTION_OUT,
    EMBEDDING_NAME,
    FEED_FORWARD,
    FUSED_KV,
    FUSED_QKV,
    HEAD_MODULE,
    NO_HEAD,
    QUERY_KEY_VALUE,
    ROUTER_MODULE,
    TOKEN_NAME,
    VECTOR_NAME,
)

# Names that wrap a layer and say nothing of it: the name before them counts.
WRAPPERS = ("lora", "base_module", "layer_instance", "cell")
# Not query_key_value, which holds the three of every head one after the other.
FUSED = {**dict.fromkeys(set(FUSED_QKV) - {"query_key_value"}, 3), **dict.fromkeys(FUSED_KV, 2)}
OUT = ATTENTION_OUT


@dataclasses.dataclass(frozen=True)
class Attention:
    """Say what one matrix is among the projections of an attention, for `leaves_from_flax`.

    Use it where papers orthogonalise heads one by one, or where fused projections should stay one matrix.

    Args:
        heads: ``"whole"``: query, key, value and out are one matrix each, all heads together; ``"each"``: every head
            has its own.
        fused: ``"split"``: a fused query-key-value kernel is three matrices; ``"whole"``: one.
        head_width: features of a head, at least 1; needed for ``heads="each"`` where a kernel (d, heads * width)
            does not tell.

    Raises:
        ValueError: for an unknown option, or a head_width below 1.

    Example:
        >>> import optax_muon as om
        >>> om.Attention(heads="each").fused
        'split'
    """

    heads: Literal["whole", "each"] = "whole"
    fused: Literal["split", "whole"] = "split"
    head_width: int | None = None

    def __post_init__(self):
        """Raise on an unknown option."""
        for field, known in (("heads", ("whole", "each")), ("fused", ("split", "whole"))):
            if getattr(self, field) not in known:
                raise ValueError(f"Attention: {field} must be one of {known}, not {getattr(self, field)!r}")
        if self.head_width is not None and self.head_width < 1:
            raise ValueError(f"Attention: head_width must be positive, not {self.head_width}")


def without_layer(site: Site) -> Finding:
    """Tell a parameter that is no known layer's kernel: biases, scales, tables of positions.

    Raises:
        UnknownLeafError: for anything that might be a matrix.
    """
    # Lists number their members: biases/0 is named biases.
    name = next((token for token in reversed(site.path.split("/")) if not token.isdigit()), site.name)
    shape, kind = site.shape, type(site.module).__name__
    if VECTOR_NAME.fullmatch(name) or TOKEN_NAME.fullmatch(name):
        return Finding(Leaf("vector"), f"{name} of {kind}")
    if len(shape) < 2:
        return Finding(Leaf("vector"), f"rank {len(shape)}")
    # Class tokens and scales such as (1, 1, d); at rank 2, (1, d) could be a kernel of one input.
    if len(shape) > 2 and sum(length > 1 for length in shape) <= 1:
        return Finding(Leaf("vector"), "at most one axis longer than 1")
    if EMBEDDING_NAME.fullmatch(name.lower()):
        if all(length == 1 for length in shape[:-1]):
            return Finding(Leaf("vector"), "a single embedded token")
        return Finding(Leaf("embedding", len(shape) - 2, len(shape) - 1), f"named {name!r}")
    raise Untold(f"{site.place} is no known layer, and does not say which axes of {site.name!r} are which")


def with_role(site: Site, found: Finding, attention: Attention) -> Finding:
    """Return a kernel's finding with its role, cut into the matrices that it holds."""
    if found.leaf.role != "hidden":
        return found
    label, cell = label_of(site), lookup(cells(), site.owner) or Cell("")
    # Gates first: side by side in one array, each is a matrix of its own.
    if cell.gates > 1:
        size = _length(site, found.leaf.output) // cell.gates
        return _settled(dataclasses.replace(found.leaf, split=Split((size,) * cell.gates)), cell.reason)
    if cell.attention or _is_projection(site, label):
        return _settled(_attention(site, found.leaf, label, attention), f"attention {label!r}: {found.reason}")
    if cell.reason:
        return _settled(found.leaf, f"{cell.reason}: {found.reason}")
    found = found._replace(leaf=apart(site, found.leaf))
    # Only names are left; attention goes first, since its ``out`` is called as many a head is.
    for role, pattern in (("head", HEAD_MODULE), ("router", ROUTER_MODULE)):
        if pattern.fullmatch(label.lower()) and not NO_HEAD.fullmatch(label.lower()):
            return _settled(dataclasses.replace(found.leaf, role=role, split=None), f"module {label!r}: {found.reason}")
    if FEED_FORWARD.fullmatch(label.lower()):
        return _settled(found.leaf, f"feed-forward {label!r}: {found.reason}")
    # A head is one of its kind; what stands in a stack beside other layers is none.
    if site.stacked:
        return _settled(found.leaf, f"stacked layers: {found.reason}")
    return found


def routers(shapes: Mapping[str, tuple[int, ...]], leaves: Mapping[str, Leaf]) -> dict[str, Leaf]:
    """Find layers called ``gate`` that make one number for each of the experts stacked beside them.

    Without experts a gate is a half of a gated feed-forward layer, and hidden.
    """
    found = {}
    for path, leaf in leaves.items():
        *prefix, label, _ = ["", "", *path.split("/")]
        if label != "gate" or leaf.role != "hidden":
            continue
        rank, count = len(shapes[path]), math.prod(shapes[path][axis] for axis in leaf.output)
        for other, beside in leaves.items():
            if not other.startswith("".join(f"{token}/" for token in prefix[2:])) or beside.role != "hidden":
                continue
            # One more batch axis than the gate, wherever it stands, as long as the gate is wide: those are its experts.
            lengths = [shapes[other][axis] for axis in beside.batch(len(shapes[other]))]
            for axis in leaf.batch(rank):
                if shapes[path][axis] in lengths:
                    lengths.remove(shapes[path][axis])
            if count in lengths:
                why = f"module 'gate' beside {count} experts: {leaf.why}"
                found[path] = dataclasses.replace(leaf, role="router", split=None, why=why, assumed=False)
    return found


def label_of(site: Site) -> str:
    """Name by which the model calls the module: the last one that is neither a number nor a wrapper's."""
    tokens = site.path.removesuffix(site.name).rstrip("/").split("/")
    label = next((t for t in reversed(tokens) if not t.isdigit() and t not in WRAPPERS), "")
    return label.removesuffix("_einsum")


def _is_projection(site: Site, label: str) -> bool:
    """Tell a projection of an attention; ``out`` and ``value`` alone are many a head's name."""
    partners = {name.removesuffix("_einsum") for name in site.beside} - {label}
    known = {*QUERY_KEY_VALUE, *FUSED} | (set() if label in OUT else {*OUT})
    alone = label in (*FUSED, "query", "q", "q_proj", "wq")
    return alone or (label in (*QUERY_KEY_VALUE, *OUT) and bool(partners & known))


def _attention(site: Site, leaf: Leaf, label: str, options: Attention) -> Leaf:
    """Say which matrices a projection's kernel holds; whole heads lead its output, and its reduction in ``out``."""
    output, reduction = leaf.output, leaf.reduction
    flat = len(reduction if label in OUT else output) == 1
    if label in FUSED:
        if flat:
            return _cut_fused(site, leaf, FUSED[label], options)
        if site.shape[output[0]] == FUSED[label] and options.fused == "split":
            output = output[1:]
        elif options.heads == "each":
            raise UnknownLeafError(f"{site.place}: which of its output axes {output} are heads cannot be told")
        flat = len(output) == 1
    if options.heads == "whole":
        return dataclasses.replace(leaf, output=output)
    if flat:
        return _cut_heads(site, leaf, "reduction" if label in OUT else "output", options)
    if label in OUT:
        return dataclasses.replace(leaf, reduction=reduction[1:])
    return dataclasses.replace(leaf, output=output[1:])


def _cut_fused(site: Site, leaf: Leaf, parts: int, options: Attention) -> Leaf:
    """Cut a kernel (d, parts * d); unequal parts, as of grouped queries, need the width of a head or a rule."""
    if options.heads == "each":
        return _cut_heads(site, leaf, "output", options)
    if options.fused == "whole":
        return leaf
    width, fan_in = _length(site, leaf.output), _length(site, leaf.reduction)
    # With grouped queries q is wider than k and v: equal cuts would mix them in silence.
    if width != parts * fan_in:
        raise Untold(
            f"{site.place} fuses {parts} projections of {fan_in} features into {width}, so where they end cannot be "
            f"told; give a rule with Leaf('hidden', {leaf.reduction}, {leaf.output}, split=(..., ...))"
        )
    return dataclasses.replace(leaf, split=Split((fan_in,) * parts))


def _cut_heads(site: Site, leaf: Leaf, side: Literal["output", "reduction"], options: Attention) -> Leaf:
    """Cut a flat side of ``heads * width`` into heads."""
    length = _length(site, leaf.output if side == "output" else leaf.reduction)
    width = options.head_width
    if width is None or length % width:
        raise UnknownLeafError(
            f"{site.place} keeps all heads in one {side} axis of {length}; say Attention(heads='each', "
            f"head_width=...) with a width that divides it{'' if width is None else f', not {width}'}"
        )
    return dataclasses.replace(leaf, split=Split((width,) * (length // width), side))


def _settled(leaf: Leaf, reason: str) -> Finding:
    """Make a finding that is no guess."""
    return Finding(leaf, reason)


def _length(site: Site, axes: tuple[int, ...]) -> int:
    """Number of entries along axes of a parameter, as its module counts them."""
    return math.prod(site.shape[axis] for axis in axes)
