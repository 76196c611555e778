"""The leaf of one parameter of a plain Flax tree, read from its name and rank.

Only a leaf's own path and shape and its sibling kernels are looked at, never biases: inside a partition the biases
are masked out, and both sides of the mask must come to the same answer.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from optax_muon.matrices._leaf import Leaf

Shape = tuple[int, ...]
Rules = Sequence[tuple[str, "Leaf | str"]]

VECTOR_NAME = re.compile(r"(.*_)?(bias|scale|gamma|beta|mean|var)")
EMBEDDING_NAME = re.compile(r".*embed(ding)?s?|.*pos(ition)?_(emb|table)|wte|wpe")
HEAD_MODULE = re.compile(r"(.*_)?(head|logits|unembed|unembedding|classifier)(_dense)?")
ROUTER_MODULE = re.compile(r"(.*_)?(router|gating)(_.*)?")
QUERY_KEY_VALUE = ("query", "key", "value", "q_proj", "k_proj", "v_proj", "q", "k", "v", "wq", "wk", "wv")
ATTENTION_OUT = ("out", "o_proj", "out_proj", "o", "wo")
FUSED_QKV = ("qkv", "qkv_proj", "c_attn", "in_proj", "to_qkv")
FEED_FORWARD = re.compile(r"(.*_)?(up|down|gate|mlp|ffn|fc|proj|wi|wo|w1|w2|w3)(_proj|_?\d+)?")


class Finding(NamedTuple):
    """A leaf with the reason for it; ``assumed`` where a name did not settle the matter."""

    leaf: Leaf
    reason: str
    assumed: bool = False


VECTOR = Leaf("vector")


class UnknownLeafError(ValueError):
    """A parameter whose role or axes cannot be told; the message names its path and shows a rule.

    Attributes:
        rule: target of a rule that would settle the one parameter it speaks of, where the reason suggests one.
    """

    def __init__(self, message: str, rule: Leaf | str | None = None):
        """Keep the rule beside the message."""
        super().__init__(message)
        self.rule = rule


class Beside(NamedTuple):
    """Shapes of the kernels beside one in the same attention layer, where there are such.

    Attributes:
        query: the query projection's.
        out: the output projection's.
        inputs: that of the first of query, key, value or a fused projection.
    """

    query: Shape | None = None
    out: Shape | None = None
    inputs: Shape | None = None


def by_name(path: str, shape: Shape, shapes: Mapping[str, Shape]) -> Finding:
    """Find the leaf of one parameter of a tree by its name and rank; ``shapes``: of all parameters, by path.

    Raises:
        UnknownLeafError: where that does not tell; the message says why.
    """
    tokens = path.split("/")
    beside = Beside()
    if len(tokens) > 1 and tokens[-2] in QUERY_KEY_VALUE + ATTENTION_OUT:
        groups = ("query", "q_proj", "q", "wq"), ATTENTION_OUT, QUERY_KEY_VALUE + FUSED_QKV
        beside = Beside(*(_sibling(tokens[:-2], tokens[-1], modules, shapes) for modules in groups))
    return _by_name(path, shape, beside)


# The whole tree and the part that an optimizer sees of it ask for the same names, at init and at every trace.
@functools.lru_cache(maxsize=1 << 14)
def _by_name(path: str, shape: Shape, beside: Beside) -> Finding:
    """Try names that settle the matter first, then ranks; raise rather than guess."""
    tokens = path.split("/")
    name, module = tokens[-1], tokens[-2] if len(tokens) > 1 else ""
    # The name before the rank: a scanned bias has rank 2, and is no matrix.
    if len(shape) < 2 or VECTOR_NAME.fullmatch(name):
        return Finding(VECTOR, f"rank {len(shape)}" if len(shape) < 2 else f"named {name!r}")
    if EMBEDDING_NAME.fullmatch(name.lower()):
        if all(length == 1 for length in shape[:-1]):
            return Finding(VECTOR, "a single embedded token")
        return Finding(Leaf("embedding", len(shape) - 2, len(shape) - 1), f"named {name!r}")
    if name == "weight":
        # The suggestion is PyTorch's and Equinox's; where layers are stacked, theirs is the first axis.
        likely = Leaf("hidden", len(shape) - 1, len(shape) - 2)
        raise UnknownLeafError("'weight' is (in, out) in some libraries and (out, in) in others", likely)
    if "conv" in module.lower():
        return _convolution(module.lower(), shape)
    if len(shape) == 2:
        return _dense(tokens, shape, beside)
    # A class token or a layer scale, written (1, 1, d) to broadcast.
    if len(shape) > 2 and name != "kernel" and sum(length > 1 for length in shape) <= 1:
        return Finding(VECTOR, "at most one axis longer than 1")
    found = _attention(module, shape, beside)
    if found is None and len(shape) == 3 and any("expert" in token.lower() for token in tokens):
        found = Finding(Leaf("hidden", 1, 2), "expert matrices, expert axis first")
    if found is None:
        raise UnknownLeafError("stacked layers, experts, heads or a convolution look alike")
    return found


def _dense(tokens: list[str], shape: Shape, beside: Beside) -> Finding:
    """Find the role of a kernel (in, out) by its module's name."""
    name, module = tokens[-1], tokens[-2] if len(tokens) > 1 else ""
    if HEAD_MODULE.fullmatch(module.lower()):
        return Finding(Leaf("head", 0, 1), f"module {module!r}")
    if ROUTER_MODULE.fullmatch(module.lower()):
        return Finding(Leaf("router", 0, 1), f"module {module!r}")
    # With another width, as of grouped queries, nothing says where to cut: one matrix then.
    if module in FUSED_QKV and shape[1] == 3 * shape[0]:
        return Finding(Leaf("hidden", 0, 1, split=(shape[0],) * 3), f"module {module!r}: query, key, value", True)
    if module in QUERY_KEY_VALUE + ATTENTION_OUT + FUSED_QKV:
        # Without a query beside it, what is called out may be a head, and ``wo`` is also T5's feed-forward output.
        alone = module in ATTENTION_OUT and beside.inputs is None
        return Finding(Leaf("hidden", 0, 1), f"attention {module!r}", alone)
    if FEED_FORWARD.fullmatch(module.lower()):
        return Finding(Leaf("hidden", 0, 1), f"feed-forward {module!r}")
    return Finding(Leaf("hidden", 0, 1), f"rank 2, named {name!r}", True)


def _convolution(module: str, shape: Shape) -> Finding:
    """Find the axes of a kernel (*window, in, out), or of a locally connected one (place, window * in, out)."""
    if "convlocal" in module.replace("_", "") and len(shape) == 3:
        return Finding(Leaf("hidden", 1, 2), "locally connected, one matrix per place")
    if not 3 <= len(shape) <= 5:
        raise UnknownLeafError("a convolution kernel has rank 3 to 5")
    if shape[-2] == 1:
        return Finding(VECTOR, "one input channel per group: depthwise", True)
    leaf = Leaf("hidden", tuple(range(len(shape) - 1)), len(shape) - 1)
    if "transpose" in module or "deconv" in module:
        return Finding(leaf, "transposed convolution; its transpose_kernel=True swaps the last axes", True)
    return Finding(leaf, f"{len(shape) - 2}-d convolution")


def _attention(module: str, shape: Shape, beside: Beside) -> Finding | None:
    """Kernels of a head-wise attention: (d, heads, width) and (heads, width, d), or those under a layer axis.

    A scanned `Dense` called ``query`` has rank 3 as well; the pair of query and out kernels tells them apart.
    """
    layers, rank = range(len(shape) - 3), len(shape)
    if module in FUSED_QKV and rank == 4 and shape[1] == 3:
        return Finding(Leaf("hidden", 0, (2, 3)), "fused query, key, value: axis 1 numbers them")
    if module not in QUERY_KEY_VALUE + ATTENTION_OUT or not 3 <= rank <= 4:
        return None
    query, out = beside.query, beside.out
    # Where d, heads and width are equal, shapes do not say which axis is which.
    if query is None or out is None or len(query) != rank or len(out) != rank or len(set(shape[-3:])) == 1:
        return None
    n = len(layers)
    # A head-wise pair agrees on its layers, heads and width; two scanned `Dense` kernels do not.
    if query[:n] != out[:n] or query[n + 1 :] != out[n : n + 2]:
        return None
    if module in ATTENTION_OUT:
        return Finding(Leaf("hidden", (n, n + 1), n + 2), "attention output: (heads, width) -> d")
    return Finding(Leaf("hidden", n, (n + 1, n + 2)), f"attention {module}: d -> (heads, width)")


def _sibling(prefix: list[str], name: str, modules: Sequence[str], shapes: Mapping[str, Shape]) -> Shape | None:
    """Shape of the first parameter ``prefix/module/name`` that the tree has."""
    paths = ("/".join([*prefix, module, name]) for module in modules)
    return next((shapes[path] for path in paths if path in shapes), None)
