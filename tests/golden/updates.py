"""Record what every optimizer does to seeded gradients, and compare after a change that must not change it.

``python -m tests.golden.updates record FILE`` before, ``python -m tests.golden.updates compare FILE`` after, on one
machine and one version of JAX: rounding differs between them, and matrix optimizers amplify it.
"""

import argparse
import dataclasses
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

import optax_muon as om
from tests.contracts.problem import RULES, build, tree

STEPS = 5
TOLERANCES = {"float32": 1e-6, "float64": 1e-12}  # relative to the largest entry of the step


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one optimizer's step went from the record, relative to the step's largest entry."""

    key: str
    relative: float

    @property
    def dtype(self) -> str:
        """Name of the dtype that the step was computed in."""
        return self.key.split("|")[1]


def steps(card: om.Card, dtype: jnp.dtype) -> list[np.ndarray]:
    """Parameters' flattened updates of every step, from random parameters along random gradients."""
    tx, params = optax.with_extra_args_support(build(card)), tree(0, dtype)
    state, update = tx.init(params), jax.jit(tx.update)
    taken = []
    for i in range(STEPS):
        grads = tree(10 + i, dtype)
        updates, state = update(grads, state, params, value=jnp.asarray(1.0, dtype))
        params = optax.apply_updates(params, updates)
        taken.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(updates)]))
    return taken


def record() -> dict[str, np.ndarray]:
    """Steps of every card in float32 and float64."""
    found = {}
    for name, card in om.registry.items():
        for dtype in (jnp.float32, jnp.float64):
            with jax.enable_x64(dtype == jnp.float64):
                found[f"{name}|{jnp.dtype(dtype).name}"] = np.stack(steps(card, dtype))
        print(name, file=sys.stderr)
    return found


def compare(before: dict[str, np.ndarray], now: dict[str, np.ndarray]) -> list[Difference]:
    """How far each optimizer that both know has gone from the record."""
    return [
        Difference(key, float(np.max(np.abs(now[key] - before[key])) / max(np.max(np.abs(before[key])), 1e-30)))
        for key in before
        if key in now
    ]


def main() -> int:
    """Record or compare; 1 where an update has changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("file", type=pathlib.Path)
    args = parser.parse_args()
    assert RULES, "matrices reach the optimizers by rules"
    if args.what == "record":
        np.savez_compressed(args.file, **record())
        return 0
    differences = compare(dict(np.load(args.file)), record())
    changed = [d for d in differences if not d.relative <= TOLERANCES[d.dtype]]
    exact = sum(d.relative == 0 for d in differences)
    print(f"{len(differences)} rows, {exact} equal to the bit, {len(changed)} changed")
    for d in changed:
        print(f"  {d.key}: {d.relative:.2e}")
    return bool(changed)


if __name__ == "__main__":
    sys.exit(main())
