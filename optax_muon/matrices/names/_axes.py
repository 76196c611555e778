"""Which axes of a kernel are summed over, and which it makes: by its bias, neighbours, the model's widths, its name."""

from optax_muon.matrices._by_name import UnknownLeafError
from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices.names import _words as words
from optax_muon.matrices.names._heads import of_experts, of_heads
from optax_muon.matrices.names._sides import ATTENTION, IN_OUT, OUT_IN, Axes, Sides, sides_by_bias
from optax_muon.matrices.names._tree import Holder, NamedArray, Tree


def kernel_axes(a: NamedArray, tree: Tree) -> Axes:
    """Read the axes of a kernel.

    Raises:
        UnknownLeafError: where nothing tells, or two things contradict one another.
    """
    rank = len(a.shape)
    if is_named_convolution(a):
        return _convolution(a, tree)
    if rank == 2:
        return _matrix(a, tree)
    found = of_heads(a, tree) or of_experts(a, tree)
    if found is not None:
        return found
    sides = sides_by_bias(a.shape, tree.bias(a))
    if len(sides) == 1:
        return Axes(*sides[0], "its bias is as long")
    raise UnknownLeafError("stacked layers, experts, heads or a convolution look alike", _likely(a))


def is_named_convolution(a: NamedArray) -> bool:
    """Tell a convolution by its module's name."""
    label = a.label.lower()
    if "conv" in label and a.name != "conv_bias":
        return True
    if a.is_kernel and len(a.shape) >= 3 and "patch" in a.path.lower():
        return True
    if a.is_kernel and len(a.shape) >= 4 and a.label not in ATTENTION:
        return not any("expert" in token.lower() for token in a.holder)
    by_purpose = words.INPUT_MODULE.fullmatch(label) or words.PATCH_TABLE.fullmatch(label)
    return a.is_kernel and len(a.shape) >= 3 and by_purpose is not None


def _convolution(a: NamedArray, tree: Tree) -> Axes:
    """Kernel (*window, in, out), or (out, in, *window) as Equinox and PyTorch have it."""
    rank, label, bias = len(a.shape), a.label.lower(), tree.bias(a)
    if rank == 2:
        return _matrix(a, tree)
    if "convlocal" in label.replace("_", "") and rank == 3:
        return Axes((1,), (2,), "locally connected, one matrix per place")
    if not 3 <= rank <= 5:
        raise UnknownLeafError("a convolution kernel has rank 3 to 5", _likely(a))
    if a.name == "weight":
        first = ((*range(1, rank),), (0,))
        if bias is None or bias == (a.shape[0],) and a.shape[0] != a.shape[-1]:
            return Axes(*first, f"{rank - 2}-d convolution (out, in, *window)", bias is not None)
        raise UnknownLeafError("a convolution's weight is (out, in, *window) in some libraries and not in others",
                               Leaf("hidden", *first))  # fmt: skip
    window = tuple(range(rank - 2))
    last = Axes((*window, rank - 2), (rank - 1,), f"{rank - 2}-d convolution")
    named = any(word in a.path.lower() for word in ("conv", "patch", "stem")) or words.PATCH_TABLE.fullmatch(label)
    if not named and bias != (a.shape[-1],):
        raise UnknownLeafError("stacked layers, experts, heads or a convolution look alike", _likely(a))
    stacked = [sides for sides in sides_by_bias(a.shape, bias) if len(sides[1]) + len(sides[0]) < rank]
    if bias is not None and len(bias) == 2:
        if len(stacked) != 1:
            raise UnknownLeafError("which axis of a stacked convolution numbers layers cannot be told", _likely(a))
        return Axes(*stacked[0], "stacked convolutions, as their bias")
    if "transpose" in label or "deconv" in label:
        swapped = Axes(
            (*window, rank - 1), (rank - 2,), "transposed convolution (*window, out, in), as its bias is long"
        )
        if bias is not None and a.shape[-1] != a.shape[-2]:
            return (
                swapped if bias == (a.shape[-2],) else last._replace(why="transposed convolution, as its bias is long")
            )
        if a.name != "kernel":  # Haiku has (out, in), Flax (in, out) unless told otherwise
            raise UnknownLeafError("a transposed convolution is (in, out) in some libraries, (out, in) in others",
                                   Leaf("hidden", swapped.reduction, swapped.output))  # fmt: skip
        return last._replace(why="transposed convolution; its transpose_kernel=True swaps the last axes", sure=False)
    return last


def _matrix(a: NamedArray, tree: Tree) -> Axes:
    """Two axes: (in, out) or (out, in)."""
    sides, why = decided(a, tree)
    if sides is not None:
        return Axes(*sides, why)
    told = [(holder, vote) for holder, vote in _votes(a, tree) if holder != a.holder]
    if told and (a.name != "kernel" or any(vote == OUT_IN for _, vote in told)):
        # The narrowest circle whose members agree: one library made them.
        for n in range(len(a.holder), -1, -1):
            near = {vote for holder, vote in told if holder[:n] == a.holder[:n]}
            if len(near) == 1:
                sides = near.pop()
                return Axes(*sides, f"{_said(sides)}, as those beside it")
            if near:
                break
        raise UnknownLeafError("others of its name are (in, out) here and (out, in) there", Leaf("hidden", 0, 1))
    if a.name == "kernel":
        return Axes(*IN_OUT, "")
    if a.name.endswith(("lora_a", "lora_b")):
        return Axes(*IN_OUT, "(in, rank)" if a.name.endswith("lora_a") else "(rank, out)")
    if a.name == "w":
        return Axes(*IN_OUT, "'w' is (in, out) in Haiku", False)
    if a.is_kernel:
        raise UnknownLeafError(
            f"{a.name!r} is (in, out) in some libraries and (out, in) in others", Leaf("hidden", 1, 0)
        )
    raise UnknownLeafError(
        f"nothing says whether {a.name!r} is a matrix, and (in, out) or (out, in)", Leaf("hidden", 0, 1)
    )


def decided(a: NamedArray, tree: Tree) -> tuple[Sides | None, str]:
    """Say which side is which where the array itself, its bias, or the model's width beside its name tells."""
    m, n = a.shape
    bias = tree.bias(a)
    if m == n:
        return None, ""
    if bias in ((m,), (n,)):
        sides = IN_OUT if bias == (n,) else OUT_IN
        return sides, "" if sides == IN_OUT and a.name == "kernel" else f"{_said(sides)}, as its bias is long"
    label = a.label
    gating = tree.beside(a).get("gating")
    if label == "linear" and gating is not None and gating.shape == (2, n, m):
        return IN_OUT, "(in, out), as the gates beside it"
    if label in ("weight_ih", "weight_hh") or a.name in ("weight_ih", "weight_hh"):
        hidden = tree.beside(a).get("weight_hh", a)
        longer = max(hidden.shape)
        if longer % min(hidden.shape) == 0 and longer in (m, n) and hidden.shape[0] != hidden.shape[1]:
            sides = OUT_IN if hidden.shape[0] == longer else IN_OUT
            return sides, f"{_said(sides)}: gates along its output"
    if label in words.FUSED_QKV and max(m, n) == 3 * min(m, n):
        sides = IN_OUT if n > m else OUT_IN
        return sides, f"{_said(sides)}: three along its output"
    known = [length in tree.widths for length in (m, n)]
    if known.count(True) != 1:
        return None, ""
    width_first = known[0]
    narrows = words.NARROWING.fullmatch(label.lower()) or (label == "linear" and gating is not None)
    if narrows or (label in words.ATTENTION_OUT and _has_query(a, tree)):
        sides = OUT_IN if width_first else IN_OUT
    elif words.WIDENING.fullmatch(label.lower()) or label in (*words.QUERY, "k_proj", "v_proj", "wk", "wv", "key"):
        sides = IN_OUT if width_first else OUT_IN
    else:
        return None, ""
    return sides, "" if sides == IN_OUT and a.name == "kernel" else f"{_said(sides)}, as the model is wide"


def _votes(a: NamedArray, tree: Tree) -> list[tuple[Holder, Sides]]:
    """Matrices that are called alike, kernels by that name and others by having none, and what decides theirs."""
    name = a.name if a.is_kernel else ""
    if name not in tree.votes:
        like = [
            other
            for others in tree.kernels.values()
            for other in others
            if len(other.shape) == 2 and (other.name if other.is_kernel else "") == name
        ]
        told = [(other.holder, decided(other, tree)[0]) for other in like]
        tree.votes[name] = [(holder, sides) for holder, sides in told if sides is not None]
    return tree.votes[name]


def _has_query(a: NamedArray, tree: Tree) -> bool:
    """Tell whether there is a query, or what is fused with it, beside."""
    return bool(tree.beside(a).keys() & {*words.QUERY, *words.FUSED_QKV})


def _said(sides: Sides) -> str:
    return "(in, out)" if sides == IN_OUT else "(out, in)"


def _likely(a: NamedArray) -> Leaf:
    rank = len(a.shape)
    if a.name in ("weight", "weight_v"):  # (out, in, *window), as PyTorch has it
        return Leaf("hidden", range(1, rank), 0)
    return Leaf("hidden", rank - 2, rank - 1)
