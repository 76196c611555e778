"""Which two parameters are the factors of one matrix, and which sides of theirs are the rank."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from optax_muon.matrices._leaf import Leaf
from optax_muon.matrices._paths import by_path
from optax_muon.matrices._shard_view import varying_axes, whole_shape
from optax_muon.matrices._side_products import OneSide, side_length

Pairs = PyTree[str] | Callable[[PyTree], PyTree[str]]
# What libraries call the factors, the one that the data enters first: `nnx.LoRA` and `nnx.LoRALinear`, Qwix (and Tunix,
# which uses it) ``kernel_lora_a``, PEFT ``lora_A``, diffusion tools ``lora_down``.
NAMES = (("lora_a", "lora_b"), ("lora_A", "lora_B"), ("lora_down", "lora_up"))


class Pair(NamedTuple):
    """Paths of two factors: the matrix is ``first @ second`` as Flax stores matrices, (in, rank) and (rank, out)."""

    first: str
    second: str

    def partners(self) -> tuple[tuple[str, OneSide, str], ...]:
        """Give every factor's path, the side of it that is the rank, and the path of the other factor."""
        return (self.first, "output", self.second), (self.second, "reduction", self.first)


RANK: tuple[OneSide, OneSide] = ("output", "reduction")


def pairs_by_name(tree: PyTree) -> dict[str, str]:
    """Pair the parameters that are called as adapters' factors are, e.g. ``up/lora_a`` with ``up/lora_b``.

    Use it as a start for pairs of one's own; it is what is asked where none are given.

    Returns:
        The path of every first factor, with that of the second.

    Raises:
        ValueError: naming a factor and the path at which its partner is missing.

    Example:
        >>> import jax.numpy as jnp, optax_muon as om
        >>> om.transforms.pairs_by_name({"up": {"lora_a": jnp.zeros((8, 2)), "lora_b": jnp.zeros((2, 4))}})
        {'up/lora_a': 'up/lora_b'}
    """
    paths, found = by_path(tree), {}
    for path in paths:
        pair = _named(path)
        if pair is not None:
            _require_both(pair, paths)
            found[pair.first] = pair.second
    return found


def _named(path: str) -> Pair | None:
    """Read the pair of which a path is one, by its innermost name that ends as a factor's."""
    parts = path.split("/")
    for i in reversed(range(len(parts))):
        for pair in NAMES:
            for ending in pair:
                if parts[i].endswith(ending):
                    stem = parts[i].removesuffix(ending)
                    return Pair(*("/".join([*parts[:i], stem + name, *parts[i + 1 :]]) for name in pair))
    return None


def _require_both(pair: Pair, paths: Mapping[str, Any]) -> None:
    for path, partner in (pair, pair[::-1]):
        if partner not in paths:
            what = "and" if path not in paths else "without"
            raise ValueError(
                f"{path} {what} {partner}: both factors of a pair must be matrices of this optimizer, and "
                f"{partner!r} is none; send both here or both elsewhere by rules, or say pairs={{first: second}}"
            )


def resolve_pairs(tree: PyTree, pairs: Pairs | None, leaves: Mapping[str, Leaf]) -> tuple[Pair, ...]:
    """Find the pairs of a tree, and check that their shapes are those of factors.

    Raises:
        ValueError: naming both paths, for a factor without the other, one in two pairs, or factors that do not fit.
        TypeError: naming complex factors.
    """
    arrays = by_path(tree)
    if not arrays:  # `optax.tree.map_params` asks with an empty tree
        return ()
    given = pairs_by_name(tree) if pairs is None else by_path(pairs(tree) if callable(pairs) else pairs)
    found = tuple(Pair(first, second) for first, second in given.items())
    seen: dict[str, Pair] = {}
    for pair in found:
        _require_both(pair, arrays)
        for path in pair:
            if path in seen:
                raise ValueError(
                    f"{path} is in two pairs, {tuple(seen[path])} and {tuple(pair)}; a factor has one partner"
                )
            seen[path] = pair
            if jnp.issubdtype(arrays[path].dtype, jnp.complexfloating):
                raise TypeError(f"{path}: a pair takes real factors, not {arrays[path].dtype}")
        _require_fit(pair, arrays, leaves)
    return found


def _require_fit(pair: Pair, arrays: Mapping[str, Array], leaves: Mapping[str, Leaf]) -> None:
    """Raise unless both factors have one rank and number their matrices alike."""
    told = []
    for path, side in zip(pair, RANK, strict=True):
        x, leaf = arrays[path], leaves[path]
        if leaf.split is not None and leaf.split.side == side:
            raise ValueError(f"{pair.first} and {pair.second}: {path} is split along the rank; give it a Leaf without")
        batch = [whole_shape(x.shape, leaf)[axis] for axis in leaf.batch(x.ndim)]
        here = [x.shape[axis] for axis in leaf.batch(x.ndim)]
        told.append((side_length(x.shape, leaf, side), batch, here))
    (a, many, here), (b, others, there) = told
    if a == b and many == others and here != there:
        raise ValueError(
            f"{pair.first} and {pair.second}: devices hold {here} and {there} of their matrices; cut both alike"
        )
    if a != b or many != others:
        shapes = [f"{arrays[path].shape} with {leaves[path]}" for path in pair]
        raise ValueError(
            f"{pair.first} and {pair.second} are no pair: the first's output side has {a} entries and the second's "
            f"reduction side {b}, of {many} and {others} matrices, which must agree ({shapes[0]}; {shapes[1]}). The "
            "first is what the data enters; give each a Leaf that says which axes are its rank"
        )


def map_together(f: Callable[..., PyTree], *tables: Mapping[str, Array]) -> dict[str, Any]:
    """Map ``f(*stacks)`` once over all small matrices of one size, whatever parameters they belong to.

    Every table has arrays ``(*batch, m, n)`` for the same paths, and ``f`` gives stacks, in any tree. A program with
    many adapters then has one decomposition.
    """
    groups: dict[Any, list[str]] = {}
    for path, x in tables[0].items():
        groups.setdefault((x.shape[-2:], x.dtype, varying_axes(x)), []).append(path)
    done: dict[str, Any] = {}
    for paths in groups.values():
        batches = [tables[0][path].shape[:-2] for path in paths]
        ends = np.cumsum([math.prod(batch) for batch in batches]).tolist()
        stacks = [
            jnp.concatenate([x.reshape(-1, *x.shape[-2:]) for x in (table[path] for path in paths)]) for table in tables
        ]
        out = f(*stacks)
        for path, batch, start, end in zip(paths, batches, [0, *ends], ends, strict=False):
            done[path] = jax.tree.map(lambda x, b=batch, i=start, j=end: x[i:j].reshape(*b, *x.shape[1:]), out)
    return done
