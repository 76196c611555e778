"""Which attention a query or key weight belongs to, and how many query heads share one of its heads."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Array

from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._shard_view import shard_view

NORM = re.compile(
    r"^(q|k|qk|query|key)_?(norm|ln|layer_?norm|rms_?norm)$|^(norm|ln)_?(q|k|qk|query|key)$", re.IGNORECASE
)


class AttentionSite(NamedTuple):
    """Where a weight stands.

    Attributes:
        attention: the path of its attention's logits.
        exponent: the power of gamma that it takes.
        module: its module, such as ``key``.
    """

    attention: str
    exponent: float
    module: str


def attention_sites(
    logits: Mapping[str, Array], weights: Mapping[str, Array], exponents: Mapping[str, float]
) -> dict[str, AttentionSite]:
    """Find the attention of every weight to be scaled: its path without the module's name begins an entry's path.

    Raises:
        ValueError: naming logits without such weights, or an attention that normalizes its queries or keys.
    """
    sites, norms = {}, {}
    for path in weights:
        tokens = path.split("/")
        for i, token in enumerate(tokens):
            known = token in exponents
            if not known and not NORM.match(token):
                continue
            attention = "/".join(tokens[:i])
            # A module that sows leaves a name and a number behind its own path.
            entry = next((name for name in logits if name == attention or name.startswith(f"{attention}/")), None)
            if entry is not None and known:
                sites[path] = AttentionSite(entry, exponents[token], token)
            elif entry is not None:
                norms[entry] = path
    for entry in logits:
        found = {path for path, site in sites.items() if site.attention == entry}
        lacking = [name for name in exponents if not any(name in path.split("/") for path in found)]
        if lacking:
            raise ValueError(f"qk_clip: no parameters of {lacking[0]!r} belong to the logits of {entry!r}")
        if entry in norms:
            raise ValueError(
                f"qk_clip: {norms[entry]} normalizes queries or keys of {entry!r}, whose logits do not see the size of "
                "these weights; leave this attention's logits out of max_logits"
            )
    return sites


class KeyGroup(NamedTuple):
    """Query heads that share a key head.

    Attributes:
        size: how many.
        keys: the module whose heads are shared; empty where none are.
    """

    size: int
    keys: str


def key_groups(
    logits: Mapping[str, Array],
    weights: Mapping[str, Array],
    sites: Mapping[str, AttentionSite],
    table: Mapping[str, Leaf],
) -> dict[str, KeyGroup]:
    """Say, by attention, how many query heads share a key head: the ratio of their features, heads being of one width.

    An attention of more than two parts, a latent one, has parts of several widths, and no shared heads.

    Raises:
        ValueError: naming an attention whose queries are no multiple of its keys.
    """
    features: dict[str, dict[str, int]] = {}
    for path, site in sites.items():
        leaf, shape = table[path], shard_view(weights[path].shape, table[path], path).shape
        layers = math.prod(logits[site.attention].shape[:-1])
        inputs = math.prod(shape[axis] for axis in leaf.reduction) if leaf.output else 1
        features.setdefault(site.attention, {})[site.module] = math.prod(shape) // (inputs * layers)
    groups = {}
    for attention, found in features.items():
        keys, most = min(found, key=found.__getitem__), max(found.values())
        size, rest = divmod(most, max(1, found[keys]))
        if len(found) != 2 or size <= 1 and not rest:
            groups[attention] = KeyGroup(1, "")
            continue
        heads = logits[attention].shape[-1]
        if rest or heads % size:
            raise ValueError(
                f"qk_clip: {heads} heads of {attention!r} cannot share keys: {most} and {found[keys]} features"
            )
        groups[attention] = KeyGroup(size, keys)
    return groups
