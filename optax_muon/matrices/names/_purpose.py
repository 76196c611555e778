"""What a kernel is for: by its module's name where that is plain, else by who makes its inputs, takes its outputs."""

from collections.abc import Mapping
from typing import NamedTuple

from optax_muon.matrices._leaf import Role
from optax_muon.matrices.names import _words as words
from optax_muon.matrices.names._axes import is_named_convolution
from optax_muon.matrices.names._flow import NUMBERED, Flow, may_be_head
from optax_muon.matrices.names._fused import near_state_space
from optax_muon.matrices.names._tree import NamedArray, label_of_tokens


class Purpose(NamedTuple):
    """Role, reason and whether they are sure."""

    role: Role
    why: str
    sure: bool = True


def purpose_of(a: NamedArray, flow: Flow) -> Purpose:
    """Tell what a kernel with known axes is for."""
    label, axes = a.label.lower(), flow.axes[a.path]
    told = _by_words(a, label, flow)
    if told is not None:
        return told
    into, out = flow.sides[a.path]
    if any(out == table[0] and into == table[1] != table[0] for table in flow.tree.tables):
        return Purpose("head", "the transpose of a table", flow.sides[a.path] not in _shapes_but(a, flow))
    is_patch = (
        is_named_convolution(a) and words.PATCH_TABLE.fullmatch(label) is not None and not flow.made_elsewhere(a.path)
    )
    in_patches = any("patch" in token.lower() and "embed" in token.lower() for token in a.holder)
    if words.INPUT_MODULE.fullmatch(label) or is_patch or in_patches:
        return Purpose("input", f"module {a.label!r}")
    numbered = len(axes.output + axes.reduction) < len(a.shape)
    # In a stack of whole models, as of critics, first and last layers are stacked too.
    if numbered and flow.made_elsewhere(a.path) and flow.taken_elsewhere(a.path):
        return Purpose("hidden", axes.why, axes.sure)
    if flow.in_a_block(a.path):
        return Purpose("hidden", "a layer of a block that repeats")
    return _by_flow(a, label, flow)


def _by_words(a: NamedArray, label: str, flow: Flow) -> Purpose | None:
    """Names that leave little doubt."""
    beside = flow.tree.beside(a)
    attention = beside.keys() & {*words.QUERY_KEY_VALUE, *words.FUSED_QKV, *words.FUSED_KV}
    if words.NO_HEAD.fullmatch(label):
        return Purpose("hidden", f"module {a.label!r}")
    around = label_of_tokens(a.holder[:-1]).lower() if words.PLAIN.fullmatch(label) else label
    if words.HEAD_MODULE.fullmatch(label) or words.HEAD_MODULE.fullmatch(around):
        return _head_or_before(a, flow)
    if label in words.STATE_SPACE and near_state_space(a, flow.tree):
        return Purpose("hidden", "projection of a state space")
    if words.ROUTER_MODULE.fullmatch(label) and len(a.shape) == 2:
        return Purpose("router", f"module {a.label!r}")
    if label == "gate" and len(a.shape) == 2 and flow.experts.get(a.holder[:-1]) == a.shape[-1]:
        return Purpose("router", f"module 'gate' beside {a.shape[-1]} experts")
    # Alone, ``q`` and ``value`` may be a critic's, ``in_proj`` the first layer, and ``out`` the head.
    if a.label in (*words.QUERY_KEY_VALUE, *words.ATTENTION_OUT) and attention - {a.label}:
        return Purpose("hidden", f"attention {a.label!r}")
    if label in ("weight_ih", "weight_hh") or (a.label in words.QUERY and len(a.shape) > 2):
        return Purpose("hidden", f"module {a.label!r}")
    if a.label in (*words.FUSED_QKV, *words.FUSED_KV):
        paired = a.label != "in_proj" or "out_proj" in beside or near_state_space(a, flow.tree)
        return Purpose("hidden", f"attention {a.label!r}") if paired else None
    if label == "wo" and any(words.WIDENING.fullmatch(other.lower()) for other in beside):
        return Purpose("hidden", "feed-forward 'wo'")
    if label in ("w1", "w2", "w3") and not _gated(a, beside):
        return None  # the weights of a perceptron are numbered so, too
    if words.FEED_FORWARD.fullmatch(label) and not is_named_convolution(a) and (a.is_kernel or beside):
        # Called gate with nothing beside that it could gate, it may be a router.
        sure = _is_whole(a, flow) and (label != "gate" or bool(beside))
        return Purpose("hidden", f"feed-forward {a.label!r}", sure)
    if "lora_" in a.name:
        return Purpose("hidden", "LoRA factor")
    return None


def _head_or_before(a: NamedArray, flow: Flow) -> Purpose:
    """In a head of several layers the last is the head."""
    name = next(
        i for i in range(len(a.holder), 0, -1) if words.HEAD_MODULE.fullmatch(label_of_tokens(a.holder[:i]).lower())
    )
    while not words.HEAD_MODULE.fullmatch(a.holder[name - 1].removesuffix("_einsum").lower()):
        name -= 1
    below = [other for other in flow.axes if flow.tree.arrays[other].holder[:name] == a.holder[:name]]
    if below.index(a.path) < len(below) - 1 and any(
        flow.sides[after][0] == flow.sides[a.path][1] for after in below[below.index(a.path) + 1 :]
    ):
        return Purpose("hidden", f"not the last of {a.label!r}", False)
    return Purpose("head", f"module {a.label!r}")


def _by_flow(a: NamedArray, label: str, flow: Flow) -> Purpose:
    """Neither name nor block tells: lengths that nobody makes are inputs, lengths that nobody takes are outputs."""
    path = a.path
    taken, made = flow.taken_elsewhere(path), flow.made_elsewhere(path)
    if not made and any(words.TIME_MODULE.fullmatch(token.lower()) for token in a.holder):
        return Purpose("input", "first after the features of a time", False)
    what = "convolution" if is_named_convolution(a) else f"rank {len(a.shape)}, named {a.name!r}"
    if not made and not flow.joined(path):
        if not taken and not flow.parted(path):
            return Purpose("hidden", f"{what}; alone", False)
        return Purpose("input", f"{what}; no layer makes its {flow.sides[path][0]} inputs", False)
    if not taken and not flow.parted(path):
        return Purpose("head", f"{what}; no layer takes its {flow.sides[path][1]} outputs", False)
    if _last_of_its_kind(a, flow) or (may_be_head(label) and not NUMBERED.fullmatch("".join(a.holder[-1:]))):
        return Purpose("hidden", f"{what}; it may be the head", False)
    return Purpose("hidden", what, is_named_convolution(a) and flow.well_known(path))


def _last_of_its_kind(a: NamedArray, flow: Flow) -> bool:
    """Tell the last of numbered layers in one place."""
    names = ["".join(other.holder[-1:]) for other in flow.tree.kernels.get(a.holder[:-1], ())]
    numbers = [name for name in names if NUMBERED.fullmatch(name)]
    return bool(numbers) and "".join(a.holder[-1:]) == max(numbers, key=lambda t: (len(t), t))


def _is_whole(a: NamedArray, flow: Flow) -> bool:
    """Tell that the way down beside takes all that this one makes; otherwise it holds more than one matrix."""
    if not words.WIDENING.fullmatch(a.label.lower()):
        return True
    down = [
        o for o in flow.tree.beside(a).values() if o.label.endswith("wo") or words.NARROWING.fullmatch(o.label.lower())
    ]
    out = flow.sides[a.path][1]
    return not down or any(flow.sides[o.path][0] in (out, out / 2) for o in down if o.path in flow.sides)


def _gated(a: NamedArray, beside: Mapping[str, NamedArray]) -> bool:
    """Tell Llama's feed-forward layer: w1 and w3 alike, w2 their transpose."""
    layer = {a.label: a, **beside}
    if not {"w1", "w2", "w3"} <= layer.keys():
        return False
    return layer["w1"].shape == layer["w3"].shape == layer["w2"].shape[::-1]


def _shapes_but(a: NamedArray, flow: Flow) -> set[tuple[int, int]]:
    return {sides for path, sides in flow.sides.items() if path != a.path}
