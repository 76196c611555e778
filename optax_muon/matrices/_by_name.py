"""Leaves of a plain Flax parameter tree, read from names and ranks.

Only a leaf's own path and shape and its sibling kernels are looked at, never biases: inside a partition the biases
are masked out, and both sides of the mask must come to the same answer.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

from jaxtyping import PyTree

from optax_muon.matrices._leaf import Leaf, Role
from optax_muon.matrices._paths import by_path, map_by_path, matches

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


class UnknownLeafError(ValueError):
    """A parameter whose role or axes cannot be told; the message names its path and shows a rule."""


def find(
    params: PyTree,
    rules: Rules = (),
    given: Mapping[str, Leaf] | None = None,
    problems: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Finding]:
    """Find the leaf of every parameter: the first matching rule, else the ``given`` one, else its name and rank.

    A rule that names a role keeps the axes of the ``given`` leaf; ``problems`` say why one is not given.

    Raises:
        UnknownLeafError: naming every parameter that needs a rule.
    """
    shapes = {path: tuple(getattr(x, "shape", ())) for path, x in by_path(params).items()}
    findings: dict[str, Finding] = {}
    unknown: dict[str, str] = {}
    for path, shape in shapes.items():
        try:
            found = _by_rule(path, shape, shapes, rules, (given or {}).get(path))
            found = found or _given(path, given, problems) or _by_name(path, shape, shapes)
        except UnknownLeafError as error:
            unknown[path] = str(error)
            continue
        found.leaf.check(path, shape)
        findings[path] = found
    if unknown:
        first = next(iter(unknown))
        lines = "\n".join(f"  {path} {shapes[path]}: {why}" for path, why in unknown.items())
        raise UnknownLeafError(
            f"cannot tell what these parameters are:\n{lines}\n"
            f"Give a rule for each, e.g. rules=[({first!r}, om.Leaf('hidden', reduction=1, output=2))], "
            f"or ({first!r}, 'other') to leave it to the other optimizer."
        )
    return findings


def leaves(params: PyTree, rules: Rules = ()) -> PyTree[Leaf]:
    """Tell the role and axes of every parameter of a plain tree (dicts, `nnx.State`, Linen params).

    Args:
        params: arrays or `jax.ShapeDtypeStruct` objects.
        rules: pairs of a path glob and a role, ``"other"``, ``"frozen"`` or a `Leaf`; the first match wins. A glob
            matches a whole path or its tail; ``*`` crosses slashes.

    Returns:
        A tree like ``params`` with a `Leaf` for every array.

    Raises:
        UnknownLeafError: naming the parameters that need a rule.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> om.leaves({"up": {"kernel": jnp.zeros((8, 32))}})["up"]["kernel"].output
        (1,)
    """
    return map_by_path(lambda path, x, found: found.leaf, params, find(params, rules))


def _given(path: str, given: Mapping[str, Leaf] | None, problems: Mapping[str, str]) -> Finding | None:
    if given is None:
        return None
    if path not in given:
        missing = f"the given leaves have no such path; they have {', '.join(list(given)[:3])}, ..."
        raise UnknownLeafError(problems.get(path, missing))
    return Finding(given[path], given[path].why, given[path].assumed)


def _by_rule(path: str, shape: Shape, shapes: Mapping[str, Shape], rules: Rules, known: Leaf | None) -> Finding | None:
    for pattern, target in rules:
        if not matches(path, pattern):
            continue
        reason = f"rule {pattern!r}"
        if isinstance(target, Leaf):
            return Finding(target, reason)
        if target not in get_args(Role):
            raise ValueError(
                f"rule {pattern!r}: {target!r} is no role; use one of {', '.join(get_args(Role))}, or a Leaf"
            )
        if target not in ("hidden", "embedding", "head", "router", "input"):
            return Finding(Leaf(target), reason)  # pyright: ignore[reportArgumentType]
        is_vector = VECTOR_NAME.fullmatch(path.split("/")[-1]) if known is None else known.role == "vector"
        if len(shape) < 2 or (is_vector and target != "hidden"):
            return Finding(Leaf("vector"), f"{reason}; a vector")
        if known is None and target == "hidden":
            known = _by_name(path, shape, shapes).leaf
        if known is not None and known.role != "vector" and known.output:
            split = known.split if target == "hidden" else None
            return Finding(dataclasses.replace(known, role=target, split=split), reason)
        if len(shape) != 2:
            raise UnknownLeafError(f"{reason} names a role, and rank {len(shape)} needs axes too: give a Leaf")
        return Finding(Leaf(target, 0, 1), reason)  # pyright: ignore[reportArgumentType]
    return None


def _by_name(path: str, shape: Shape, shapes: Mapping[str, Shape]) -> Finding:
    tokens = path.split("/")
    name, module = tokens[-1], tokens[-2] if len(tokens) > 1 else ""
    if len(shape) < 2 or VECTOR_NAME.fullmatch(name):
        return Finding(Leaf("vector"), f"rank {len(shape)}" if len(shape) < 2 else f"named {name!r}")
    if EMBEDDING_NAME.fullmatch(name.lower()):
        if all(length == 1 for length in shape[:-1]):
            return Finding(Leaf("vector"), "a single embedded token")
        return Finding(Leaf("embedding", len(shape) - 2, len(shape) - 1), f"named {name!r}")
    if name == "weight":
        raise UnknownLeafError("'weight' is (in, out) in some libraries and (out, in) in others")
    if "conv" in module.lower():
        return _convolution(module.lower(), shape)
    if len(shape) == 2:
        return _dense(tokens, shape, shapes)
    if len(shape) > 2 and name != "kernel" and sum(length > 1 for length in shape) <= 1:
        return Finding(Leaf("vector"), "at most one axis longer than 1")
    found = _attention(tokens, shape, shapes)
    if found is None and len(shape) == 3 and any("expert" in token.lower() for token in tokens):
        found = Finding(Leaf("hidden", 1, 2), "expert matrices, expert axis first")
    if found is None:
        raise UnknownLeafError("stacked layers, experts, heads or a convolution look alike")
    return found


def _dense(tokens: list[str], shape: Shape, shapes: Mapping[str, Shape]) -> Finding:
    name, module = tokens[-1], tokens[-2] if len(tokens) > 1 else ""
    if HEAD_MODULE.fullmatch(module.lower()):
        return Finding(Leaf("head", 0, 1), f"module {module!r}")
    if ROUTER_MODULE.fullmatch(module.lower()):
        return Finding(Leaf("router", 0, 1), f"module {module!r}")
    if module in FUSED_QKV and shape[1] == 3 * shape[0]:
        return Finding(Leaf("hidden", 0, 1, split=(shape[0],) * 3), f"module {module!r}: query, key, value", True)
    if module in QUERY_KEY_VALUE + ATTENTION_OUT + FUSED_QKV:
        # Without a query beside it, what is called out may be a head.
        alone = module in ATTENTION_OUT and _sibling(tokens[:-2], name, QUERY_KEY_VALUE + FUSED_QKV, shapes) is None
        return Finding(Leaf("hidden", 0, 1), f"attention {module!r}", alone)
    if FEED_FORWARD.fullmatch(module.lower()):
        return Finding(Leaf("hidden", 0, 1), f"feed-forward {module!r}")
    return Finding(Leaf("hidden", 0, 1), f"rank 2, named {name!r}", True)


def _convolution(module: str, shape: Shape) -> Finding:
    if "convlocal" in module.replace("_", "") and len(shape) == 3:
        return Finding(Leaf("hidden", 1, 2), "locally connected, one matrix per place")
    if not 3 <= len(shape) <= 5:
        raise UnknownLeafError("a convolution kernel has rank 3 to 5")
    if shape[-2] == 1:
        return Finding(Leaf("vector"), "one input channel per group: depthwise", True)
    leaf = Leaf("hidden", tuple(range(len(shape) - 1)), len(shape) - 1)
    if "transpose" in module or "deconv" in module:
        return Finding(leaf, "transposed convolution; its transpose_kernel=True swaps the last axes", True)
    return Finding(leaf, f"{len(shape) - 2}-d convolution")


def _attention(tokens: list[str], shape: Shape, shapes: Mapping[str, Shape]) -> Finding | None:
    """Kernels of a head-wise attention: (d, heads, width) and (heads, width, d), or those under a layer axis.

    A scanned `Dense` called ``query`` has rank 3 as well; the pair of query and out kernels tells them apart.
    """
    module, prefix = tokens[-2] if len(tokens) > 1 else "", tokens[:-2]
    layers, rank = range(len(shape) - 3), len(shape)
    if module in FUSED_QKV and rank == 4 and shape[1] == 3:
        return Finding(Leaf("hidden", 0, (2, 3)), "fused query, key, value: axis 1 numbers them")
    if module not in QUERY_KEY_VALUE + ATTENTION_OUT or not 3 <= rank <= 4:
        return None
    query = _sibling(prefix, tokens[-1], ("query", "q_proj", "q", "wq"), shapes)
    out = _sibling(prefix, tokens[-1], ATTENTION_OUT, shapes)
    if query is None or out is None or len(query) != rank or len(out) != rank or len(set(shape[-3:])) == 1:
        return None
    n = len(layers)
    if query[:n] != out[:n] or query[n + 1 :] != out[n : n + 2]:
        return None
    if module in ATTENTION_OUT:
        return Finding(Leaf("hidden", (n, n + 1), n + 2), "attention output: (heads, width) -> d")
    return Finding(Leaf("hidden", n, (n + 1, n + 2)), f"attention {module}: d -> (heads, width)")


def _sibling(prefix: list[str], name: str, modules: Sequence[str], shapes: Mapping[str, Shape]) -> Any:
    paths = ("/".join([*prefix, module, name]) for module in modules)
    return next((shapes[path] for path in paths if path in shapes), None)
