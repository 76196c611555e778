"""The reading of a tree by its names does not depend on its containers, its order, what is empty, or who holds it."""

import random
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from hypothesis import strategies as st

import optax_muon as om
from optax_muon.matrices._paths import by_path
from tests.fuzz.kind import Kind

MODULES = ("up", "down", "query", "out", "dense", "block", "lm_head", "router", "norm", "embed", "conv_in", "value")
NAMES = ("kernel", "bias", "scale", "embedding", "weight_norm")
SHAPES = ((4, 8), (8, 4), (4, 12), (8,), (1, 4), (3, 3, 4, 8), (1, 1, 4))
ROLES = ("hidden", "embedding", "head", "router", "vector", "other", "frozen")


class Tree(NamedTuple):
    """A model in words: path -> shape, rules, and how its containers are built."""

    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    rules: tuple[tuple[str, str], ...]


def model(rng: random.Random) -> Tree:
    """Make a model of up to six parameters, some of them in numbered layers, and up to three rules."""
    arrays = {"up/kernel": (4, 8)}
    for _ in range(rng.randrange(6)):
        layer = rng.choice(("", "layers/0/", "layers/1/", "decoder/"))
        arrays[f"{layer}{rng.choice(MODULES)}/{rng.choice(NAMES)}"] = rng.choice(SHAPES)
    globs = [*arrays, *(path.split("/")[-2] + "/*" for path in arrays), "*/kernel", "*"]
    rules = tuple((rng.choice(globs), rng.choice(ROLES)) for _ in range(rng.randrange(4)))
    return Tree(tuple(arrays.items()), rules)


def trees() -> st.SearchStrategy[list[Tree]]:
    """Draw some models, from one number: a case has to cost little."""

    def of(seed: int) -> list[Tree]:
        rng = random.Random(seed)
        return [model(rng) for _ in range(8)]

    return st.integers(0, 2**62).map(of)


def nested(arrays: dict[str, Any]) -> dict:
    """Turn paths into dicts of dicts."""
    tree: dict = {}
    for path, value in arrays.items():
        *above, name = path.split("/")
        node = tree
        for key in above:
            node = node.setdefault(key, {})
        node[name] = value
    return tree


def listed(node: Any) -> Any:
    """Give numbered layers as a list."""
    if not isinstance(node, dict):
        return node
    done = {key: listed(value) for key, value in node.items()}
    numbers = sorted(done)
    return [done[key] for key in numbers] if numbers == [str(i) for i in range(len(numbers))] else done


def attributes(node: Any) -> Any:
    """Give every dict as a named tuple."""
    if not isinstance(node, dict) or any(key.isdigit() for key in node):
        return {key: attributes(value) for key, value in node.items()} if isinstance(node, dict) else node
    return NamedTuples.of(tuple(sorted(node)))(**{key: attributes(value) for key, value in node.items()})


class NamedTuples:
    """Named tuple types by their fields: a structure is compared by its type."""

    known: dict[tuple[str, ...], Any] = {}

    @classmethod
    def of(cls, fields: tuple[str, ...]) -> Any:
        """Make the type once."""
        if fields not in cls.known:
            cls.known[fields] = NamedTuple("Node", [(name, Any) for name in fields])  # noqa: UP014
        return cls.known[fields]


def backwards(node: Any) -> Any:
    """Insert keys in the opposite order."""
    return {key: backwards(node[key]) for key in reversed(list(node))} if isinstance(node, dict) else node


def padded(node: Any) -> Any:
    """Add what is empty."""
    if not isinstance(node, dict):
        return node
    return {key: padded(value) for key, value in node.items()} | {"empty": {}, "nothing": None, "none": ()}


FORMS = types.MappingProxyType(
    {
        "frozen": FrozenDict,
        "listed": listed,
        "attributes": attributes,
        "backwards": backwards,
        "padded": padded,
    }
)


def read(params: Any, rules) -> dict[str, str] | str:
    """Give labels by path, or the error's first line."""
    try:
        return by_path(om.label(params, rules=rules, strict=False))
    except ValueError as error:
        return f"{type(error).__name__} {str(error).splitlines()[0].split(':')[0]}"


def check(found: list[Tree]):
    """Read every model in every form."""
    for tree in found:
        shapes = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in tree.arrays}
        plain = nested(shapes)
        first = read(plain, tree.rules)
        for name, form in FORMS.items():
            other = read(form(plain), tree.rules)
            if isinstance(first, str):
                assert other[:20] == first[:20], f"{name}: {first} became {other}"
            else:
                assert other == first, name
        if not isinstance(first, str):
            within = read({"model": plain}, tree.rules)
            assert within == {f"model/{path}": role for path, role in first.items()}, "under a name"
            obeys(first, tree)
    return found


def obeys(labels: dict[str, str], tree: Tree) -> None:
    """The first rule that matches says the label; a vector stays one where a role for a module takes it along."""
    for path, label in labels.items():
        for glob, role in tree.rules:
            tail = glob.removesuffix("/*") if glob.endswith("/*") else None
            matched = glob in ("*", path) or path.endswith(f"/{glob}") or (
                tail is not None and f"/{tail}/" in f"/{path.rsplit('/', 1)[0]}/"
            )  # fmt: skip
            if glob == "*/kernel":
                matched = path.endswith("/kernel")
            if matched:
                assert label == role or label == "vector", f"{path}: rule {glob} says {role}, labelled {label}"
                break


KIND = Kind("names", trees(), check, quick=6, share=0.12, minutes=5)
