"""The state of every optimizer as a version of the package kept it, and the update that it made next.

``python -m tests.golden.states`` adds to ``tests/golden/states/VERSION.npz``, for the version that runs, the cards that
it has not; it is committed with the version, and never changed after the release.
"""

import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_muon as om
from optax_muon.matrices._paths import by_path, map_by_path
from tests.contracts.problem import with_extra_args

FOLDER = pathlib.Path(__file__).parent / "states"
SHAPES = {"up": {"kernel": (3, 4), "bias": (4,)}, "down": {"kernel": (4, 3)}, "layers": {"kernel": (2, 3, 4)}}
LEAVES = {
    "up": {"kernel": om.Leaf("hidden", 0, 1), "bias": om.Leaf("vector")},
    "down": {"kernel": om.Leaf("hidden", 0, 1)},
    "layers": {"kernel": om.Leaf("hidden", 1, 2)},
}
STEPS = 3


def arrays(seed: int) -> dict:
    """Random parameters or gradients."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32), SHAPES, is_leaf=lambda x: isinstance(x, tuple)
    )


def optimizer(card: om.Card) -> optax.GradientTransformationExtraArgs:
    """Build a card's optimizer for the whole tree, with its own defaults."""
    make = functools.partial(card.make, 0.05, **card.defaults)
    if card.kind in ("roles", "any"):
        return optax.with_extra_args_support(make(leaves=LEAVES))
    tx = om.for_matrices(make, otherwise=optax.adam(0.05), leaves=LEAVES)
    return with_extra_args(card, tx)


def after(card: om.Card) -> dict[str, Any]:
    """Take some steps, and one more: parameters and state before it, and its updates, by path."""
    tx, params = optimizer(card), arrays(0)
    state, update = tx.init(params), jax.jit(tx.update)
    for i in range(STEPS):
        updates, state = update(arrays(10 + i), state, params, value=jnp.float32(1.0))
        params = optax.apply_updates(params, updates)
    updates, _ = update(arrays(9), state, params, value=jnp.float32(1.0))
    trees = {"params": params, "state": state, "updates": updates}
    return {name: {path: np.asarray(x) for path, x in by_path(tree).items()} for name, tree in trees.items()}


def write(file: pathlib.Path) -> None:
    """Write the trees of every card that is not there: one row of bytes a card, and what is where."""
    rows = dict(np.load(file)) if file.exists() else {}
    for name, card in om.registry.items():
        if f"{name}|schema" in rows:
            continue
        trees = after(card)
        entries = [(tree, path, x) for tree, table in trees.items() for path, x in table.items()]
        schema = [(tree, path, list(x.shape), x.dtype.name) for tree, path, x in entries]
        raw = b"".join(np.ascontiguousarray(x).tobytes() for *_, x in entries)
        rows[f"{name}|bytes"] = np.frombuffer(raw, np.uint8)
        rows[f"{name}|schema"] = np.frombuffer(json.dumps(schema).encode(), np.uint8)
    np.savez_compressed(file, **rows)


def read(file: pathlib.Path) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Read what `write` wrote: card -> tree -> path -> array."""
    rows, found = np.load(file), {}
    for key in rows:
        name, what = key.split("|")
        if what == "schema":
            raw, start = rows[f"{name}|bytes"].tobytes(), 0
            trees = found.setdefault(name, {"params": {}, "state": {}, "updates": {}})
            for tree, path, shape, dtype in json.loads(rows[key].tobytes()):
                count = int(np.prod(shape, dtype=int))
                trees[tree][path] = np.frombuffer(raw, jnp.dtype(dtype), count, start).reshape(shape)
                start += count * jnp.dtype(dtype).itemsize
    return found


def as_tree(table: Mapping[str, Any], like: Any) -> Any:
    """Give a tree like another from its arrays by path."""
    return map_by_path(lambda path, _, x: jnp.asarray(x), like, table)


if __name__ == "__main__":
    write(FOLDER / f"{om.__version__}.npz")
